//! One group of changes: decided on in order, committed with one sync.

use hashbrown::HashMap;

use rand::rngs::StdRng;

use super::{
    books::{Books, Entry},
    edits::{Edits, Reach, Subject},
    item::Item,
    outcome::{Committed, Outcome, WriteError},
};
use crate::{
    domain::{
        contact::{ContactKind, ContactRef},
        decide::Known,
        erased::ErasedMark,
        scope::BrandId,
        secret::Fingerprint,
        state::ContactState,
        time::Now,
    },
    store::{Batch, ContactKey, EventRow, KeyHash, KeyRow, Tip},
};

/// What a group knows and has decided so far, on top of the ledger.
pub(super) struct Group<'a> {
    pub books: &'a Books,
    pub now: Now,
    /// The recorded time of every event of the group.
    pub recorded: i64,
    pub tip: Tip,
    /// States touched or read, by contact.
    pub states: HashMap<Entry, Touched>,
    pub keys: HashMap<KeyHash, KeyRow>,
    /// The addresses of contacts that the directory knew before.
    pub addresses: HashMap<ContactRef, String>,
    /// Addresses registered by this group, with their ordinals.
    pub registered: Registered,
    /// Marks of erasure that this group changed.
    pub marks: HashMap<Fingerprint, ErasedMark>,
    /// Whose marks they are.
    pub mark_keys: HashMap<Entry, Fingerprint>,
    pub events: Vec<(EventRow, ContactKey)>,
    pub ends: Vec<(i64, Entry)>,
    /// Rectifications that also stand in the right address's history.
    pub linked: Vec<(ContactKey, u64)>,
}

type Registered = HashMap<(ContactKind, Fingerprint), (u64, String)>;

/// A contact that the group has read.
#[derive(Default)]
pub(super) struct Touched {
    pub state: ContactState,
    /// Where verdicts may change; empty while the state was only read.
    pub reach: Vec<Reach>,
}

impl Books {
    /// Decides on changes, makes them durable, and shows them in the view that
    /// comes next.
    ///
    /// # Errors
    /// The disk failed: nothing may be acknowledged any more (A10).
    pub(super) fn commit(
        &mut self,
        mut items: Vec<Item>,
        salts: &mut StdRng,
    ) -> Result<Committed, WriteError> {
        let now = self.advance()?;
        self.identify(&mut items);
        let mut group = Group::read(self, &items, now)?;
        let outcomes: Vec<Outcome> = items.iter().map(|item| group.decide(item, salts)).collect();
        group.load_other_brands()?;
        let Finished { tip, edits, registered, marks, touched, ends } = group.finish()?;
        if tip.revision != self.tip.revision {
            let mut registered: Vec<_> = registered.into_iter().collect();
            registered.sort_unstable_by_key(|(_, (ordinal, _))| *ordinal);
            for ((kind, fingerprint), (ordinal, _)) in registered {
                self.register(kind, fingerprint, ordinal).map_err(|error| {
                    // The ledger has the address and the directory cannot take
                    // it: filters would not find it. Stop (A1).
                    tracing::error!(%error, "the directory refused a registered address");
                    WriteError::OutcomeUnknown
                })?;
                self.pages.register(kind, fingerprint);
            }
            self.tip = tip;
            self.all_brands |= touched.iter().any(|(brand, _)| *brand == BrandId::ALL);
            if !marks.is_empty() {
                self.erased.extend(marks);
                self.view.erased = self.erased_index();
            }
            self.apply(edits);
            self.note_commit(touched.into_iter(), ends.into_iter());
            self.view.directories = self.directories();
            self.view.revision = tip.revision;
        }
        Ok(Committed { outcomes, revision: self.tip.revision })
    }
}

struct Finished {
    tip: Tip,
    edits: Edits,
    registered: Registered,
    marks: HashMap<Fingerprint, ErasedMark>,
    touched: Vec<Entry>,
    ends: Vec<(i64, Entry)>,
}

impl Books {
    /// Looks up whom changes are about.
    pub(super) fn identify(&self, items: &mut [Item]) {
        for item in items {
            item.contact = self.contact(&item.change.address);
        }
    }
}

impl<'a> Group<'a> {
    /// Reads all rows that the changes can need, many at once.
    pub(super) fn read(books: &'a Books, items: &[Item], now: Now) -> Result<Self, WriteError> {
        let reused = items.iter().filter_map(|item| item.reused_key);
        let hashes: Vec<KeyHash> = items.iter().map(|item| item.key).chain(reused).collect();
        let found = books.store.event_keys(&hashes)?;
        let keys = hashes
            .into_iter()
            .zip(found)
            .filter_map(|(hash, row)| row.map(|row| (hash, row)))
            .collect();

        let mut entries: Vec<Entry> = items
            .iter()
            .filter_map(|item| item.contact.map(|contact| (item.change.brand, contact)))
            .collect();
        if books.all_brands {
            let all: Vec<Entry> =
                entries.iter().map(|(_, contact)| (BrandId::ALL, *contact)).collect();
            entries.extend(all);
        }
        if !books.erased.is_empty() {
            // A lift of the mark of all brands frees what each brand kept.
            let in_all = items.iter().filter(|item| item.change.brand == BrandId::ALL);
            let brands = || books.view.policy.names().brands();
            entries.extend(
                in_all
                    .filter_map(|item| item.contact)
                    .flat_map(|contact| brands().map(move |brand| (brand, contact))),
            );
        }
        entries.sort_unstable();
        entries.dedup();
        let mut texts: Vec<(ContactKind, u64)> = items
            .iter()
            .filter_map(|item| item.contact)
            .filter(|contact| !contact.kind.is_direct())
            .map(|contact| (contact.kind, contact.id))
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let found = books.store.addresses(&texts)?;
        let addresses = texts
            .into_iter()
            .zip(found)
            .filter_map(|((kind, id), text)| text.map(|text| (ContactRef { kind, id }, text)))
            .collect();
        let states = books.states(&entries)?;
        let states = entries
            .into_iter()
            .zip(states)
            .map(|(entry, state)| (entry, Touched { state, reach: Vec::new() }))
            .collect();
        Ok(Self {
            books,
            now,
            recorded: now.suppressions.max(books.tip.recorded_time),
            tip: Tip { high_water: books.tip.high_water.max(now.consents), ..books.tip },
            states,
            keys,
            addresses,
            registered: HashMap::new(),
            marks: HashMap::new(),
            mark_keys: HashMap::new(),
            events: Vec::new(),
            ends: Vec::new(),
            linked: Vec::new(),
        })
    }

    /// What was said for all brands touches the contact in every brand.
    fn load_other_brands(&mut self) -> Result<(), WriteError> {
        let said: Vec<(ContactRef, Vec<Reach>)> = self
            .states
            .iter()
            .filter(|((brand, _), touched)| *brand == BrandId::ALL && !touched.reach.is_empty())
            .map(|((_, contact), touched)| (*contact, touched.reach.clone()))
            .collect();
        for (contact, reach) in said {
            let brands: Vec<Entry> =
                self.books.view.policy.brands().map(|brand| (brand, contact)).collect();
            let missing: Vec<Entry> =
                brands.iter().copied().filter(|entry| !self.states.contains_key(entry)).collect();
            let states = self.books.states(&missing)?;
            for (entry, state) in missing.into_iter().zip(states) {
                self.states.insert(entry, Touched { state, reach: Vec::new() });
            }
            for entry in brands {
                if let Some(touched) = self.states.get_mut(&entry) {
                    touched.reach.extend(&reach);
                }
            }
        }
        Ok(())
    }

    /// Makes everything durable, and says what the planes must show.
    fn finish(self) -> Result<Finished, WriteError> {
        let mut edits = Edits::default();
        let nothing = ContactState::default();
        for ((brand, contact), touched) in &self.states {
            if touched.reach.is_empty() || *brand == BrandId::ALL {
                continue;
            }
            let all_brands = self.states.get(&(BrandId::ALL, *contact));
            let known = Known {
                brand: &touched.state,
                all_brands: all_brands.map_or(&nothing, |touched| &touched.state),
                erased: self.marks_of((*brand, *contact))?,
            };
            let subject = Subject { brand: *brand, contact: *contact, known };
            edits.decide(&self.books.view, &subject, self.now, &touched.reach);
        }
        if !self.events.is_empty() {
            self.write()?;
        }
        Ok(Finished {
            tip: self.tip,
            edits,
            registered: self.registered,
            marks: self.marks,
            touched: self
                .states
                .iter()
                .filter(|(_, touched)| !touched.reach.is_empty())
                .map(|(entry, _)| *entry)
                .collect(),
            ends: self.ends,
        })
    }

    /// Writes all rows in one commit. Rows of one family go in by ascending
    /// key: the database then finds the place of each near the one before.
    fn write(&self) -> Result<(), WriteError> {
        let store = &self.books.store;
        let mut batch = Batch::new(store);
        let first = self.books.tip.revision + 1;
        for (revision, (row, _)) in (first..).zip(&self.events) {
            batch.event(revision, row)?;
        }
        let mut history: Vec<(&ContactKey, u64)> =
            self.events.iter().map(|(_, contact)| contact).zip(first..).collect();
        history.extend(self.linked.iter().map(|(contact, revision)| (contact, *revision)));
        history.sort_unstable();
        history.dedup();
        for (contact, revision) in history {
            batch.history(contact, revision)?;
        }
        let mut states: Vec<(ContactKey, ContactRef, &ContactState)> = self
            .states
            .iter()
            .filter(|(_, touched)| !touched.reach.is_empty() && !touched.state.is_empty())
            .map(|((brand, contact), touched)| {
                (ContactKey::new(store.secret(), *brand, *contact), *contact, &touched.state)
            })
            .collect();
        states.sort_unstable_by_key(|(key, ..)| *key);
        for (key, contact, state) in states {
            batch.state(&key, contact.id, state)?;
        }
        let mut keys: Vec<(&KeyHash, &KeyRow)> =
            self.keys.iter().filter(|(_, row)| row.revision >= first).collect();
        keys.sort_unstable_by_key(|(hash, _)| hash.0);
        for (hash, row) in keys {
            batch.event_key(*hash, row)?;
        }
        for ((kind, _), (ordinal, text)) in &self.registered {
            batch.address(*kind, *ordinal, text)?;
        }
        for (fingerprint, mark) in &self.marks {
            batch.erased(*fingerprint, mark)?;
        }
        for (due, (brand, contact)) in &self.ends {
            let key = ContactKey::new(store.secret(), *brand, *contact);
            batch.end(*due, &key)?;
        }
        batch.tip(&self.tip)?;
        Ok(batch.commit()?)
    }
}
