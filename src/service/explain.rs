//! Why a contact is permitted or suppressed.

use tonic::Status;

use super::Services;
use crate::proto::v1::{ExplainRequest, ExplainResponse};

impl Services {
    pub(super) async fn explain_verdict(
        &self,
        _request: ExplainRequest,
    ) -> Result<ExplainResponse, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }
}
