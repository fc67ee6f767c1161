//! Why, of several recipients, from the ledger.

use tonic::Status;

use super::Services;
use crate::proto::v1::{DescribeRequest, DescribeResponse};

impl Services {
    pub(super) async fn describe_recipients(
        &self,
        _request: DescribeRequest,
    ) -> Result<DescribeResponse, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }
}
