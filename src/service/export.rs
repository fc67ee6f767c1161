//! The known contacts of a scope, streamed.

use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Services;
use crate::proto::v1::{ExportRequest, ExportResponse};

impl Services {
    pub(super) async fn start_export(
        &self,
        _request: ExportRequest,
    ) -> Result<ReceiverStream<Result<ExportResponse, Status>>, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }
}
