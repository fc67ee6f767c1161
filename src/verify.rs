//! Verification: everything derived is recomputed from the events and compared.

use std::collections::{BTreeMap, HashMap};

use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        event::ChangeKind,
        plane::{PlaneId, PlaneRole},
        scope::BrandId,
        state::{ConsentRecord, ContactState, Span, consent_end},
    },
    engine::{plane::Plane, view::Planes},
    store::{ContactKey, EventKind, StoreError, StoredChange, content_digest},
    writer::{Books, derive, scope_of},
};

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events read.
    pub events: u64,
    /// The last revision.
    pub revision: u64,
    /// The chain up to it, in hexadecimal.
    pub chain_head: String,
    /// Contacts per brand with a state.
    pub contacts: u64,
    /// Planes with members.
    pub planes: u64,
    /// What differs, for a person; empty if all is well.
    pub differences: Vec<String>,
}

/// Differences listed at most; the first ones say where to look.
const MAX_DIFFERENCES: usize = 20;

type States = BTreeMap<(BrandId, ContactRef), ContactState>;

/// Reads every event, checks the chain, replays the rules, and compares states,
/// addresses and planes with what the store holds.
///
/// # Errors
/// A row cannot be read, or the chain is broken; the error names the revision.
pub fn verify(books: &Books) -> Result<Report, StoreError> {
    let mut report = Report { revision: books.tip.revision, ..Report::default() };
    let mut states = States::new();
    let mut addresses: HashMap<ContactRef, String> = HashMap::new();
    let mut chain = [0; 32];
    for event in books.store.events(1, [0; 32])? {
        let (revision, row) = event?;
        chain = row.hash(revision);
        report.events += 1;
        let Some((_, payload)) = row.body.filter(|_| row.kind != EventKind::Policy) else {
            continue;
        };
        let stored = StoredChange::decode(&payload)?;
        if let Address::Email(text) | Address::ExternalId(text) = &stored.change.address {
            addresses.insert(stored.contact, text.clone());
        }
        let key = ContactKey::new(books.store.secret(), stored.change.brand, stored.contact);
        if !books.store.has_history(&key, revision)? {
            report
                .differences
                .push(format!("revision {revision} is missing from its contact's history"));
        }
        replay(&mut states, &stored, revision);
    }
    if chain != books.tip.chain || report.events != books.tip.revision {
        report.differences.push("the events do not end where the tip says".to_owned());
    }
    report.chain_head = chain.iter().map(|byte| format!("{byte:02x}")).collect();
    report.contacts = states.len() as u64;
    compare_states(books, &states, &mut report)?;
    compare_ends(books, &states, &mut report)?;
    compare_addresses(books, addresses, &mut report)?;

    let planes = derive(
        states.into_iter().map(Ok::<_, StoreError>),
        &books.view.policy,
        books.view.now,
        |(brand, contact)| books.marks(brand, contact),
        |_, _| {},
    )?;
    compare_planes(books, &planes, &mut report);
    report.differences.truncate(MAX_DIFFERENCES);
    Ok(report)
}

fn replay(states: &mut States, stored: &StoredChange, revision: u64) {
    let state = states.entry((stored.change.brand, stored.contact)).or_default();
    let time = stored.effective_time;
    match &stored.change.kind {
        ChangeKind::Consent(consent) => {
            state.record(ConsentRecord {
                level: consent.level,
                selector: consent.selector,
                status: consent.status,
                consent_time: time,
                valid_until: consent.valid_until,
                content: content_digest(&stored.change),
                revision,
            });
        }
        ChangeKind::Suppression(suppression) => {
            let span = Span { since: time, expires_at: suppression.expires_at, revision };
            state.suppress(suppression.channel, suppression.reason, span);
        }
        ChangeKind::Lift(lift) => {
            state.lift(lift.channel, lift.reason, time, revision);
        }
    }
}

fn compare_states(books: &Books, expected: &States, report: &mut Report) -> Result<(), StoreError> {
    let mut found = 0;
    for state in books.all_states()? {
        let (entry, state) = state?;
        found += 1;
        if expected.get(&entry) != Some(&state) {
            let brand = books.view.policy.brand_name(entry.0);
            report.differences.push(format!(
                "the state of a {} contact of brand {brand} is not what its events make",
                entry.1.kind.name()
            ));
        }
    }
    if found != expected.len() {
        report
            .differences
            .push(format!("{} contacts have events, and {found} have a state", expected.len()));
    }
    Ok(())
}

/// Every end that can still come must be queued, or it would never be noticed.
fn compare_ends(books: &Books, states: &States, report: &mut Report) -> Result<(), StoreError> {
    let policy = &books.view.policy;
    for ((brand, contact), state) in states {
        let key = ContactKey::new(books.store.secret(), *brand, *contact);
        let validity =
            |record| scope_of(*brand, record).and_then(|scope| policy.default_validity(&scope));
        let consents = state.consents().iter().filter_map(|each| consent_end(each, validity(each)));
        let spans = state.suppressions().iter().flat_map(|entry| &entry.spans);
        for due in consents.chain(spans.filter_map(|span| span.expires_at)) {
            if !books.store.has_end(due, &key)? {
                report.differences.push(format!(
                    "the end of a {} contact's record is not queued",
                    contact.kind.name()
                ));
            }
        }
    }
    Ok(())
}

fn compare_addresses(
    books: &Books,
    mut expected: HashMap<ContactRef, String>,
    report: &mut Report,
) -> Result<(), StoreError> {
    for kind in [ContactKind::Email, ContactKind::ExternalId] {
        for address in books.store.addresses_from(kind, 0)? {
            let (ordinal, text) = address?;
            let contact = ContactRef { kind, id: ordinal };
            if expected.remove(&contact).as_deref() != Some(text.as_str()) {
                report.differences.push(format!(
                    "the {} with ordinal {ordinal} is not the one in the events",
                    kind.name()
                ));
            }
            if books.view.ordinal(kind, &text) != Some(contact) {
                report.differences.push(format!(
                    "the directory does not find the {} with ordinal {ordinal}",
                    kind.name()
                ));
            }
        }
    }
    if !expected.is_empty() {
        report.differences.push(format!("{} addresses are not registered", expected.len()));
    }
    Ok(())
}

fn compare_planes(books: &Books, expected: &Planes, report: &mut Report) {
    let policy = &books.view.policy;
    let expected: BTreeMap<PlaneId, &Plane> = expected.all(policy).collect();
    let found: BTreeMap<PlaneId, &Plane> = books.view.planes.all(policy).collect();
    report.planes = found.len() as u64;
    let names = expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>();
    for name in names {
        let (expected, found) = (expected.get(name), found.get(name));
        let same = match (expected, found) {
            (Some(expected), Some(found)) => {
                expected.len() == found.len() && expected.ids().eq(found.ids())
            }
            _ => false,
        };
        if !same {
            let role = match name.role {
                PlaneRole::Verdict => "verdicts",
                PlaneRole::Reason(reason) => reason.name(),
            };
            report.differences.push(format!(
                "the plane of {role} of {}/{}/{}/{} has {} contacts, and its events make {}",
                policy.brand_name(name.scope.brand),
                name.scope.recipient_type.name(),
                policy.channel_name(name.scope.channel),
                policy.purpose_name(name.scope.purpose),
                found.map_or(0, |plane| plane.len()),
                expected.map_or(0, |plane| plane.len()),
            ));
        }
    }
}
