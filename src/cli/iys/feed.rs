//! The ledger's events up to now, as the commands read them.

use tonic::Code;

use super::super::Failure;
use crate::{
    client::Client,
    iys::TooManyRows,
    proto::v1::{Actor, ActorRole, LedgerRecord, Revision, WatchRequest},
};

/// Reads the events after a revision, or all, up to the present one; returns
/// where it ended. The events are whole only if there is no error.
pub async fn read(
    client: &Client,
    brand: &str,
    after: Option<Revision>,
    command: &str,
    mut take: impl FnMut(&LedgerRecord) -> Result<(), TooManyRows>,
) -> Result<Option<Revision>, Failure> {
    let (mut through, resumes) = (after.clone(), after.is_some());
    let request = WatchRequest {
        brand: brand.to_owned(),
        after,
        until_now: true,
        asked_by: Some(Actor { role: ActorRole::System.into(), id: command.to_owned() }),
    };
    let foreign = |status: tonic::Status| {
        if resumes && status.code() == Code::FailedPrecondition {
            Failure::failed(format!(
                "the store has another history than the one that was read before (it was \
                 restored): {}. Run once with --from-start; rows that the registry has already \
                 it then refuses as unchanged (H174)",
                status.message()
            ))
        } else {
            status.into()
        }
    };
    let mut stream = client.consent_service().watch(request).await.map_err(foreign)?.into_inner();
    while let Some(response) = stream.message().await.map_err(foreign)? {
        for record in &response.records {
            take(record)?;
        }
        through = response.through.or(through);
    }
    Ok(through)
}
