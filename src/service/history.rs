//! The events of one contact.

use prost::Message;
use tonic::Status;

use super::{
    Services,
    audited::{masked, read},
    convert,
    convert_record::ledger_record,
    gate::Admitted,
    moment::Moment,
    status::{invalid, not_declared},
};
use crate::{
    audit::{Read, Row},
    caps,
    domain::{address::Accept, contact::Address, policy::Policy, scope::BrandId},
    proto::v1::{HistoryRequest, HistoryResponse, LedgerRecord},
    reader::Record,
};

impl Services {
    pub(super) async fn read_history(
        &self,
        request: Admitted<HistoryRequest>,
    ) -> Result<HistoryResponse, Status> {
        let (caller, request) = request.into_parts();
        let asker = convert::asked_by(request.asked_by)?;
        let limit = match request.limit as usize {
            0 => caps::HISTORY_EVENTS,
            limit if limit <= caps::HISTORY_EVENTS => limit,
            limit => {
                let what = format!("{limit} asked; at most {} are given", caps::HISTORY_EVENTS);
                return Err(invalid("limit", what));
            }
        };
        // As wide as opt-outs are accepted: what was recorded must be found.
        let address = convert::address(request.contact.as_ref(), Accept::Possible)?;
        let row = read(asker, &caller, &request.brand);
        let about = Some(masked(&address));
        let moment = self.moment().await?;
        let brands = brands(&moment.view.policy, &request.brand)?;
        let found = tokio::task::block_in_place(|| {
            page(&moment, address, &brands, request.after_revision, limit)
        });
        let count = found.as_ref().map_or(0, |found| found.records.len());
        self.audited(&Row::History(Read { about, ..row.with(&found, count) }))?;
        found
    }
}

/// The brands of this name, with what was said for all brands. `*` is every
/// brand that was ever declared: a person's data is theirs, whatever the policy
/// has dropped since.
fn brands(policy: &Policy, name: &str) -> Result<Vec<BrandId>, Status> {
    if name == "*" {
        return Ok(policy.names().brands().chain([BrandId::ALL]).collect());
    }
    let brand = policy.brand(name).map_err(|error| not_declared(&error))?;
    Ok(vec![brand, BrandId::ALL])
}

fn page(
    moment: &Moment<'_>,
    address: Address,
    brands: &[BrandId],
    after: u64,
    limit: usize,
) -> Result<HistoryResponse, Status> {
    let (mut records, mut more) = (Vec::new(), false);
    if let Some(contact) = moment.subject(address).contact {
        let first = after.saturating_add(1);
        let (found, beyond) = moment.ledger.history(contact, brands, first..=u64::MAX, limit)?;
        let (fitting, cut) = ledger_records(&moment.view.policy, found);
        (records, more) = (fitting, beyond || cut);
    }
    Ok(HistoryResponse { records, more, revision: Some(moment.revision()) })
}

/// Records as callers see them, as many as fit in a message, and whether some
/// did not.
pub(super) fn ledger_records(policy: &Policy, found: Vec<Record>) -> (Vec<LedgerRecord>, bool) {
    let mut bytes = 0;
    let count = found.len();
    let fits = |record: &LedgerRecord| {
        // Tag and length of the record come on top of its own bytes.
        bytes += record.encoded_len() + 8;
        bytes <= caps::RECORDS_BYTES
    };
    let records: Vec<LedgerRecord> =
        found.into_iter().map(|record| ledger_record(policy, record)).take_while(fits).collect();
    let cut = records.len() < count;
    (records, cut)
}
