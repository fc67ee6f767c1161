//! Counts of permitted contacts, without a list.

use tonic::Status;

use super::Services;
use crate::proto::v1::{ReachRequest, ReachResponse};

impl Services {
    pub(super) async fn count_reach(
        &self,
        _request: ReachRequest,
    ) -> Result<ReachResponse, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }
}
