//! Verification: everything derived is recomputed from the events and compared.

use std::collections::{BTreeMap, HashMap};

use crate::{
    domain::{
        contact::{Address, ContactKind, ContactRef},
        erased::ErasedMark,
        plane::{Area, PlaneId, PlaneRole},
        scope::BrandId,
        secret::Fingerprint,
        state::ContactState,
    },
    engine::{plane::Plane, view::Planes},
    store::{
        ChainHash, ContactKey, EventKind, StoreError, StoredChange, StoredErasure, StoredRedaction,
    },
    writer::{Books, Reach, derive, grant_ends},
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

/// A revision and the chain up to it, as it was kept elsewhere.
pub type ExpectedHead = (u64, ChainHash);

type States = BTreeMap<(BrandId, ContactRef), ContactState>;

/// What the events make, so far.
#[derive(Default)]
struct Replayed {
    states: States,
    marks: HashMap<Fingerprint, ErasedMark>,
    /// Redacted bodies that no redaction has vouched for yet, by revision.
    redacted: BTreeMap<u64, [u8; 32]>,
}

/// Reads every event, checks the chain, replays the rules, and compares states,
/// addresses and planes with what the store holds.
///
/// # Errors
/// A row cannot be read, or the chain is broken; the error names the revision.
///
/// A chain alone does not show that its end was cut off, or that it was written
/// anew: heads that were kept elsewhere do, up to the last of them.
pub fn verify(books: &Books, expected: &[ExpectedHead]) -> Result<Report, StoreError> {
    let mut report = Report { revision: books.tip.revision, ..Report::default() };
    let mut replayed = Replayed::default();
    let mut addresses: HashMap<ContactRef, String> = HashMap::new();
    let mut chain = [0; 32];
    for event in books.store.events(1, [0; 32])? {
        let (revision, row) = event?;
        chain = row.hash(revision);
        report.events += 1;
        for (_, hash) in expected.iter().filter(|(at, _)| *at == revision) {
            if *hash != chain {
                report.differences.push(format!(
                    "revision {revision} is not what it was when the expected head was taken: the \
                     ledger was changed at or before it"
                ));
            }
        }
        if let Some(digest) = row.body_digest().filter(|_| row.redacted) {
            replayed.redacted.insert(revision, digest);
        }
        let Some((_, payload)) = row.body else { continue };
        if row.kind == EventKind::Redaction {
            for (redacted, digest) in StoredRedaction::decode(&payload)?.events {
                // Erased since, or redacted as it says.
                if replayed.redacted.get(&redacted) == Some(&digest) {
                    replayed.redacted.remove(&redacted);
                }
            }
        }
        if row.kind == EventKind::Erasure {
            let marks = StoredErasure::decode(&payload)?.remains.into_iter();
            replayed.marks.extend(marks.map(|each| (each.fingerprint, each.mark)));
        }
        if !row.kind.is_change() {
            continue;
        }
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
        replayed.replay(books, &stored, revision);
    }
    for (revision, _) in expected.iter().filter(|(at, _)| *at == 0 || *at > books.tip.revision) {
        report.differences.push(format!(
            "a head of revision {revision} is expected, and the ledger ends at {}: its end was cut \
             off, or the head is of another store",
            books.tip.revision
        ));
    }
    let Replayed { states, marks, redacted } = replayed;
    for revision in redacted.keys() {
        report.differences.push(format!("the redacted payload of revision {revision} was changed"));
    }
    if marks != books.erased {
        report.differences.push("the marks of erasures are not what their events make".to_owned());
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

impl Replayed {
    /// Notes in the marks that a contact is known again. What that brings back
    /// follows in events of its own.
    fn reappear(&mut self, books: &Books, stored: &StoredChange) {
        let (change, time) = (&stored.change, stored.effective_time);
        if self.marks.is_empty() {
            return;
        }
        let own = books.mark_of(change.brand, &change.address);
        if let Some(mark) = self.marks.get_mut(&own) {
            mark.heard(change, time);
        }
        if change.brand == BrandId::ALL {
            for brand in books.view.policy.names().brands() {
                if let Some(mark) = self.marks.get_mut(&books.mark_of(brand, &change.address)) {
                    mark.heard_for_all(change);
                }
            }
        } else if let Some(mark) = self.marks.get_mut(&books.mark_of(BrandId::ALL, &change.address))
        {
            mark.heard_in(own, change);
        }
    }

    fn replay(&mut self, books: &Books, stored: &StoredChange, revision: u64) {
        let state = self.states.entry((stored.change.brand, stored.contact)).or_default();
        let (kind, time) = (&stored.change.kind, stored.effective_time);
        state.enter(kind, time, stored.content(), revision);
        self.reappear(books, stored);
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
        let consents = grant_ends(state, policy, *brand, Reach::ALL);
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
            if text.is_empty() && !expected.contains_key(&contact) {
                continue; // Erased; its ordinal names nobody.
            }
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
            let area = match name.area {
                Area::Brand(brand) => format!("brand {}", policy.brand_name(brand)),
                Area::Scope(scope) => format!(
                    "{}/{}/{}/{}",
                    policy.brand_name(scope.brand),
                    scope.recipient_type.name(),
                    policy.channel_name(scope.channel),
                    policy.purpose_name(scope.purpose),
                ),
            };
            report.differences.push(format!(
                "the plane of {role} of {area} has {} contacts, and its events make {}",
                found.map_or(0, |plane| plane.len()),
                expected.map_or(0, |plane| plane.len()),
            ));
        }
    }
}
