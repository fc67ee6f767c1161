//! One recipient: decided as in a batch of one, so that both always agree.

use std::cell::RefCell;

use tonic::{Code, Status};

use super::{
    Services,
    audited::{masked, read},
    convert,
    convert_record::ledger_record,
    gate::Admitted,
    question::{Asked, minimum, named_scope, revision, scope_name},
    status::{invalid, status},
};
use crate::{
    audit::{Read, Row},
    domain::{
        address::Accept,
        contact::{Address, ContactRef},
        event::Actor,
        reason::Reason,
        scope::Scope,
    },
    engine::{filter::Session, view::View},
    proto::v1::{CheckRequest, CheckResponse, LedgerRecord},
    reader::Subject,
};

impl Services {
    pub(super) async fn check_one(
        &self,
        request: Admitted<CheckRequest>,
    ) -> Result<CheckResponse, Status> {
        let (caller, request) = request.into_parts();
        self.serving()?;
        let contact = request.contact.ok_or_else(|| invalid("contact", "name the contact"))?;
        let scope = request.scope.ok_or_else(|| invalid("scope", "name the scope"))?;
        let kind = convert::kind(contact.kind, "contact.kind")?;
        let (mut since, mut view) = (self.published.doubts().begin(), self.published.load());
        let scope = named_scope(&view, &request.brand, &scope, "scope", kind)?;
        let asked = Asked {
            brand: scope.brand,
            scopes: vec![scope],
            kind,
            region: convert::region(&contact.default_region, "contact.default_region")?,
            reasons: true,
            deduplicate: false,
            minimum: minimum(&view, request.minimum_revision)?,
        };
        if view.revision < asked.minimum {
            drop((since, view));
            if !self.reached(asked.minimum).await {
                return Err(Self::not_yet(&self.published.load()));
            }
            since = self.published.doubts().begin();
            view = self.published.load();
        }
        // An address that is none is a verdict here, as it is in a batch.
        let address = convert::address(Some(&contact), Accept::Valid).ok();
        let reason = decide(&view, &asked, address.as_ref())?;
        self.undamaged(&since, &asked.scopes)?;
        let record = if request.include_record {
            // More than a verdict: what was recorded of a person.
            let row = Read {
                about: Some(address.as_ref().map_or_else(|| "no address".to_owned(), masked)),
                scope: Some(scope_name(&view.policy, &scope)),
                ..read(Actor::default(), &caller, &request.brand)
            };
            let found = tokio::task::block_in_place(|| self.record(&view, &scope, address));
            let count = usize::from(matches!(found, Ok(Some(_))));
            self.audited(&Row::Check(row.with(&found, count)))?;
            found?
        } else {
            None
        };
        Ok(CheckResponse {
            permitted: reason == Reason::Permitted,
            reason: reason as i32,
            revision: Some(revision(&view, view.revision)),
            as_of_ms: view.as_of(),
            policy_version: view.policy.version().to_owned(),
            record,
        })
    }

    /// The record that decided. The ledger may be ahead of the view that gave
    /// the verdict; a newer record is left out.
    fn record(
        &self,
        view: &View,
        scope: &Scope,
        address: Option<Address>,
    ) -> Result<Option<LedgerRecord>, Status> {
        let Some((address, rules)) = address.zip(view.policy.rules(scope)) else {
            return Ok(None);
        };
        let ledger = self.reader.ledger()?;
        let subject = Subject { contact: contact_of(view, &address), address };
        let decided = ledger.decide(&[subject], rules, view.now)?;
        let revision = decided.first().and_then(|decision| decision.revision);
        let Some(revision) = revision.filter(|revision| *revision <= view.revision) else {
            return Ok(None);
        };
        let record = ledger.record(revision)?;
        Ok(record.map(|record| ledger_record(&view.policy, record)))
    }
}

thread_local! {
    /// The buffers of a batch: for one recipient they would cost more to make
    /// than the verdict. Nothing in them outlives the next call.
    static SESSION: RefCell<Session> = RefCell::default();
}

fn decide(view: &View, asked: &Asked, address: Option<&Address>) -> Result<Reason, Status> {
    let Some(address) = address else { return Ok(Reason::InvalidRecipient) };
    let question = asked.of(view).map_err(|_| {
        status(Code::NotFound, "NOT_DECLARED", "the policy no longer has this scope")
    })?;
    let verdicts = SESSION.with_borrow_mut(|session| {
        match address {
            Address::Phone(id) | Address::ContactId(id) => {
                session.read_ids([*id].into_iter(), &question, view);
            }
            Address::Email(text) | Address::ExternalId(text) => {
                let line = bytes::Bytes::copy_from_slice(text.as_bytes());
                session.read_lines(&line, &question, view);
            }
        }
        session.filter(view, &question)
    });
    let verdicts = verdicts.map_err(|error| {
        tracing::error!(?error, "a recipient could not be decided on");
        status(Code::Internal, "UNDECIDED", "the server failed; nothing is permitted")
    })?;
    let tag = verdicts.first().and_then(|verdicts| verdicts.reasons.first());
    let reason = tag.and_then(|tag| Reason::from_tag(*tag));
    reason.ok_or_else(|| {
        status(Code::Internal, "UNDECIDED", "the server failed; nothing is permitted")
    })
}

/// The contact that an address names, if it is registered.
pub(super) fn contact_of(view: &View, address: &Address) -> Option<ContactRef> {
    match (address.direct_id(), address.text()) {
        (Some(id), _) => Some(ContactRef { kind: address.kind(), id }),
        (None, text) => view.ordinal(address.kind(), text?),
    }
}
