//! Why a contact is permitted or suppressed, now or in the past (R10).

use tonic::{Code, Status};

use super::{
    Services,
    audited::{masked, read, scope_text},
    convert,
    convert_record::ledger_record,
    gate::Admitted,
    history::ledger_records,
    moment::{Moment, is_recipient},
    question::{in_epoch, revision, scope_in},
    status::{invalid, status},
};
use crate::{
    audit::{Read, Row},
    caps,
    domain::{
        address::Accept,
        contact::{Address, ContactKind},
        decide::Decision,
        reason::Reason,
        scope::BrandId,
    },
    proto::v1::{self, ExplainRequest, ExplainResponse},
    reader::AsOf,
};

/// What is asked of whom.
struct Asked {
    brand: String,
    scope: v1::Scope,
    kind: ContactKind,
    /// The contact as filters read it; none if they would not.
    recipient: Option<Address>,
    /// The contact as opt-outs are read.
    address: Option<Address>,
    as_of_ms: Option<i64>,
    as_of_revision: Option<v1::Revision>,
    with_hindsight: bool,
}

impl Services {
    pub(super) async fn explain_verdict(
        &self,
        request: Admitted<ExplainRequest>,
    ) -> Result<ExplainResponse, Status> {
        let (caller, request) = request.into_parts();
        self.serving()?;
        let asker = convert::asked_by(request.asked_by)?;
        let contact = request.contact.ok_or_else(|| invalid("contact", "name the contact"))?;
        let read_as = |accept| convert::address(Some(&contact), accept).ok();
        convert::region(&contact.default_region, "contact.default_region")?;
        let asked = Asked {
            scope: request.scope.ok_or_else(|| invalid("scope", "name the scope"))?,
            kind: convert::kind(contact.kind, "contact.kind")?,
            recipient: read_as(Accept::Valid),
            address: read_as(Accept::Valid).or_else(|| read_as(Accept::Possible)),
            brand: request.brand,
            as_of_ms: request.as_of_ms,
            as_of_revision: request.as_of_revision,
            with_hindsight: request.with_hindsight,
        };
        let row = Read {
            about: Some(asked.address.as_ref().map_or_else(|| "no address".to_owned(), masked)),
            scope: Some(scope_text(&asked.scope)),
            ..read(asker, &caller, &asked.brand)
        };
        let moment = self.moment().await?;
        let found = tokio::task::block_in_place(|| explain(&moment, asked));
        let count = found.as_ref().map_or(0, |found| found.records.len());
        self.audited(&Row::Explain(row.with(&found, count)))?;
        found
    }
}

fn explain(moment: &Moment<'_>, asked: Asked) -> Result<ExplainResponse, Status> {
    let Moment { ledger, view, .. } = moment;
    let as_of = as_of(moment, &asked)?;
    let policy = match as_of {
        None => std::sync::Arc::clone(&moment.policy),
        Some(as_of) => ledger
            .policy_at(as_of.revision, (&view.policy, view.policy_revision))?
            .ok_or_else(|| not_there("nothing was recorded and no policy was in force then"))?,
    };
    let scope = scope_in(&policy, &asked.brand, &asked.scope, "scope", asked.kind)?;
    let rules = policy
        .rules(&scope)
        .ok_or_else(|| status(Code::NotFound, "NOT_DECLARED", "the policy has no such scope"))?;

    let recipient = asked.recipient.filter(|address| is_recipient(address, rules.regime));
    let decided = match (recipient.map(|address| moment.subject(address)), as_of) {
        (None, _) => Some(Decision::unrecorded(Reason::InvalidRecipient)),
        (Some(subject), Some(as_of)) => ledger.decide_as_of(&subject, rules, as_of)?,
        (Some(subject), None) => ledger.decide(&[subject], rules, view.now)?.into_iter().next(),
    };
    let heeded = match as_of {
        Some(as_of) if !as_of.with_hindsight => as_of.revision,
        _ => ledger.revision(),
    };
    let contact = asked.address.and_then(|address| moment.subject(address).contact);
    let (records, truncated) = match contact {
        None => (Vec::new(), false),
        Some(contact) => {
            let brands = [scope.brand, BrandId::ALL];
            let (found, beyond) =
                ledger.history(contact, &brands, 0..=heeded, caps::EXPLAIN_EVENTS)?;
            let (records, cut) = ledger_records(&view.policy, found);
            (records, beyond || cut)
        }
    };
    let deciding = match decided.and_then(|decision| decision.revision) {
        Some(revision) => ledger.record(revision)?,
        None => None,
    };
    Ok(ExplainResponse {
        permitted: decided.is_some_and(|decision| decision.reason == Reason::Permitted),
        reason: decided.map_or(0, |decision| decision.reason as i32),
        since_ms: decided.and_then(|decision| decision.since),
        deciding: deciding.map(|record| ledger_record(&view.policy, record)),
        erased_record: decided.is_none(),
        records,
        truncated,
        revision: Some(revision(view, heeded)),
        as_of_ms: as_of.map_or(view.as_of(), |as_of| as_of.time),
        policy_version: policy.version().to_owned(),
        regime: rules.regime.to_string(),
    })
}

/// The moment of the past that is asked about; none for now.
fn as_of(moment: &Moment<'_>, asked: &Asked) -> Result<Option<AsOf>, Status> {
    let Moment { ledger, view, .. } = moment;
    let known = asked.as_of_revision.clone().map(|known| {
        in_epoch(view, known, "as_of_revision", "what it held then is only in its backups")
    });
    let (revision, time) = match (known.transpose()?, asked.as_of_ms) {
        (None, None) => return Ok(None),
        (Some(revision), time) => {
            let recorded = ledger.recorded_time(revision)?.ok_or_else(|| {
                not_there(format!(
                    "as_of_revision: the ledger has revisions 1 to {}, and not {revision}",
                    ledger.revision()
                ))
            })?;
            (revision, time.unwrap_or(recorded))
        }
        (None, Some(time)) => (ledger.revision_at(time)?, time),
    };
    let latest = ledger.recorded_time(ledger.revision())?.unwrap_or(0).max(view.as_of());
    if time > latest {
        return Err(not_there("as_of_ms: nobody knows yet what will have been recorded by then"));
    }
    Ok(Some(AsOf { revision, time, with_hindsight: asked.with_hindsight }))
}

/// The status for a revision or time that the ledger does not reach.
fn not_there(message: impl Into<String>) -> Status {
    status(Code::OutOfRange, "NOT_RECORDED", message)
}
