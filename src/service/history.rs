//! The events of one contact.

use tonic::Status;

use super::Services;
use crate::proto::v1::{HistoryRequest, HistoryResponse};

impl Services {
    pub(super) async fn read_history(
        &self,
        _request: HistoryRequest,
    ) -> Result<HistoryResponse, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }
}
