//! The rights of the person: erasure and rectification.

use tonic::Status;

use super::Services;
use crate::proto::v1::{EraseRequest, EraseResponse, RectifyRequest, RectifyResponse};

impl Services {
    pub(super) async fn erase_contacts(
        &self,
        _request: EraseRequest,
    ) -> Result<EraseResponse, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }

    pub(super) async fn rectify_contact(
        &self,
        _request: RectifyRequest,
    ) -> Result<RectifyResponse, Status> {
        Err(Status::unimplemented("this version does not do this yet"))
    }
}
