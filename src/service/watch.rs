//! The change feed.

use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Services;
use crate::proto::v1::{WatchRequest, WatchResponse};

impl Services {
    pub(super) async fn start_watch(
        &self,
        _request: WatchRequest,
    ) -> Result<ReceiverStream<Result<WatchResponse, Status>>, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }
}
