//! Every question that a filter can be asked, compared recipient by recipient.

use std::collections::{BTreeMap, HashSet};

use rand::seq::SliceRandom;
use roaring::RoaringTreemap;
use sendgate::proto::v1::{
    AnswerForm, BatchAnswer, CheckRequest, ContactKind, DescribeRequest, Reason, RecipientBatch,
    ScopeAnswer,
};

use super::{
    Pair,
    people::{NO_COUNTRY, NO_NUMBERS, garbage},
    rules::Accepted,
    wire::{self, ask, wire_scope},
    words::{Regime, Scope, What},
};

/// A recipient, as the model sees it.
#[derive(Clone, Copy)]
enum Slot {
    Person(usize),
    /// No address at all.
    Nobody,
    /// A number whose country code nobody has.
    NoCountry,
}

/// A batch with what stands in it, in the order of its answer.
struct Asked {
    batch: RecipientBatch,
    slots: Vec<Slot>,
}

impl Pair {
    /// Asks about everybody in every scope, in every form.
    pub async fn compare(&mut self) {
        for (kind, scope) in self.scopes.clone() {
            let deduplicate = self.generator.chance(30);
            let mut asked = vec![self.lines(kind)];
            if matches!(kind, ContactKind::Phone | ContactKind::ContactId) {
                asked.extend([self.column(kind), self.audience(kind)]);
            }
            asked.shuffle(&mut self.generator.random);
            for (id, each) in (1..).zip(&mut asked) {
                each.batch.batch_id = id;
            }
            self.compare_stream(kind, &scope, deduplicate, asked).await;
            self.compare_describe(kind, &scope).await;
            if self.generator.chance(10) {
                self.compare_check(kind, &scope).await;
            }
        }
    }

    async fn compare_stream(
        &mut self,
        kind: ContactKind,
        scope: &Scope,
        deduplicate: bool,
        asked: Vec<Asked>,
    ) {
        let batches: Vec<RecipientBatch> = asked.iter().map(|each| each.batch.clone()).collect();
        let reasons = AnswerForm::Reasons;
        let (answers, summary) =
            ask(&self.server, scope, kind, reasons, deduplicate, batches.clone()).await;
        let (bits, _) =
            ask(&self.server, scope, kind, AnswerForm::PermittedBits, deduplicate, batches).await;
        assert_eq!((answers.len(), bits.len()), (asked.len(), asked.len()));

        let mut totals: BTreeMap<Reason, u64> = BTreeMap::new();
        let mut permitted_before = HashSet::new();
        for ((asked, answer), bits) in asked.iter().zip(&answers).zip(&bits) {
            let answered = self.envelope(answer, &asked.batch);
            let found: Vec<Reason> = answered
                .reasons
                .iter()
                .map(|byte| Reason::try_from(i32::from(*byte)).unwrap())
                .collect();
            assert_eq!(found.len(), asked.slots.len());
            for (slot, found) in asked.slots.iter().zip(&found) {
                let mut expected = self.expected(*slot, scope);
                if let (true, Slot::Person(who), Reason::Permitted) = (deduplicate, slot, expected)
                    && !permitted_before.insert(*who)
                {
                    expected = Reason::Duplicate;
                }
                *totals.entry(expected).or_default() += 1;
                assert_eq!(*found, expected, "{}", self.describe(*slot, scope));
            }
            check_bits(answered, &asked.batch, &found);
            let counted = answered.reason_counts.iter().map(|each| (each.reason(), each.count));
            assert_eq!(counted.collect::<BTreeMap<_, _>>(), count(&found));

            // The other form says the same, and no reasons.
            let bits = self.envelope(bits, &asked.batch);
            assert_eq!(bits.permitted, answered.permitted);
            assert_eq!(bits.permitted_count, answered.permitted_count);
            assert!(bits.reasons.is_empty() && bits.reason_counts.is_empty());
        }
        self.coverage.reasons.extend(totals.keys());
        let total = &summary.scopes[0];
        let counted = total.reason_counts.iter().map(|each| (each.reason(), each.count));
        assert_eq!(counted.collect::<BTreeMap<_, _>>(), totals);
        assert_eq!(total.permitted, totals.get(&Reason::Permitted).copied().unwrap_or(0));
        assert_eq!(total.recipients, totals.values().sum::<u64>());
        assert_eq!((summary.batches, summary.refused_batches), (asked.len() as u64, 0));
    }

    /// Checks what an answer says of itself; returns its one scope.
    fn envelope<'a>(&self, answer: &'a BatchAnswer, batch: &RecipientBatch) -> &'a ScopeAnswer {
        assert_eq!(answer.error, None);
        assert_eq!(answer.batch_id, batch.batch_id);
        assert_eq!(answer.as_of_ms, self.model.high_water);
        assert_eq!(answer.revision.as_ref().unwrap().revision, self.model.revision);
        assert_eq!(answer.policy_version, "model");
        assert_eq!(answer.scopes.len(), 1);
        &answer.scopes[0]
    }

    async fn compare_check(&mut self, kind: ContactKind, scope: &Scope) {
        let of_kind: Vec<usize> =
            (0..self.people.len()).filter(|who| self.people[*who].kind == kind).collect();
        let who = self.generator.pick(&of_kind);
        let request = CheckRequest {
            brand: scope.brand.to_owned(),
            scope: Some(wire_scope(scope)),
            contact: Some(wire::contact(kind, &self.people[who].spellings[0])),
            include_record: true,
            minimum_revision: None,
        };
        let answer = self.server.filter().check(request).await.unwrap().into_inner();
        let expected = self.expected(Slot::Person(who), scope);
        assert_eq!(answer.reason(), expected, "{}", self.describe(Slot::Person(who), scope));
        assert_eq!(answer.permitted, expected == Reason::Permitted);
        if let Some(record) = answer.record {
            let event = self.event(Slot::Person(who), record.revision);
            assert!(event.is_none_or(|event| event.time == record.effective_time_ms));
            assert_ne!(expected, Reason::Erased, "a mark has no record");
        }
    }

    /// The ledger gives the reasons that filters give, and since when.
    async fn compare_describe(&self, kind: ContactKind, scope: &Scope) {
        let people = self
            .everybody(kind)
            .into_iter()
            .map(|who| (self.people[who].spellings[0].clone(), Slot::Person(who)));
        let nobody = garbage(kind).iter().map(|text| ((*text).to_owned(), Slot::Nobody));
        let (addresses, slots): (Vec<String>, Vec<Slot>) = people.chain(nobody).unzip();
        let request = DescribeRequest {
            brand: scope.brand.to_owned(),
            scope: Some(wire_scope(scope)),
            contact_kind: kind.into(),
            default_region: if kind == ContactKind::Phone { "TR" } else { "" }.to_owned(),
            addresses,
            minimum_revision: None,
        };
        let answer = self.server.filter().describe(request).await.unwrap().into_inner();
        assert_eq!(answer.as_of_ms, self.model.high_water);
        assert_eq!(answer.revision.unwrap().revision, self.model.revision);
        assert_eq!(answer.descriptions.len(), slots.len());
        for (slot, found) in slots.into_iter().zip(answer.descriptions) {
            assert_eq!(
                found.reason(),
                self.expected(slot, scope),
                "{}",
                self.describe(slot, scope)
            );
            if let (Slot::Person(who), Reason::Erased) = (slot, found.reason()) {
                let erased = [Some(scope.brand), None]
                    .map(|brand| self.model.active_since(brand, who, None, Reason::Erased));
                assert_eq!(found.since_ms, erased.into_iter().max().flatten());
                assert_eq!(found.revision, 0);
                continue;
            }
            let event = self.event(slot, found.revision);
            if event.is_none() && found.revision != 0 {
                continue;
            }
            let since = event.map(|event| match event.said.what {
                What::Consent { granted: true, until, .. } if found.reason() == Reason::Expired => {
                    let default = scope.validity.map(|validity| event.time + validity);
                    until.into_iter().chain(default).min().unwrap()
                }
                _ => event.time,
            });
            assert_eq!(found.since_ms, since, "{}", self.describe(slot, scope));
        }
    }

    /// The event of this revision, which must be the person's. None if an act of
    /// theirs recorded it: in which order one records several things is its own
    /// affair.
    fn event(&self, slot: Slot, revision: u64) -> Option<&Accepted> {
        let Slot::Person(who) = slot else { return None };
        let of_person = || self.model.accepted.iter().filter(|each| each.said.who == who);
        let event = of_person().find(|each| each.revision == revision);
        let by_an_act = || of_person().any(|each| each.said.origin != 0);
        assert!(revision == 0 || event.is_some() || by_an_act(), "revision {revision}");
        event.filter(|event| event.said.origin == 0)
    }

    fn expected(&self, slot: Slot, scope: &Scope) -> Reason {
        match slot {
            Slot::Person(who) => self.model.verdict(who, scope),
            Slot::Nobody => Reason::InvalidRecipient,
            Slot::NoCountry if scope.regime == Regime::OptIn => Reason::NoConsent,
            Slot::NoCountry => Reason::InvalidRecipient,
        }
    }

    fn describe(&self, slot: Slot, scope: &Scope) -> String {
        match slot {
            Slot::Person(who) => {
                format!("{:?} in {scope:?}, {}", self.people[who].spellings, self.history(who))
            }
            Slot::Nobody => "no address".to_owned(),
            Slot::NoCountry => format!("no country in {scope:?}"),
        }
    }

    fn everybody(&self, kind: ContactKind) -> Vec<usize> {
        (0..self.people.len()).filter(|who| self.people[*who].kind == kind).collect()
    }

    /// Everybody in random spellings, some twice, among garbage.
    fn lines(&mut self, kind: ContactKind) -> Asked {
        let mut lines: Vec<(&str, Slot)> =
            garbage(kind).iter().map(|text| (*text, Slot::Nobody)).collect();
        for who in self.everybody(kind) {
            for _ in 0..self.generator.pick(&[1, 1, 2]) {
                let spellings: Vec<&str> =
                    self.people[who].spellings.iter().map(String::as_str).collect();
                lines.push((self.generator.pick(&spellings), Slot::Person(who)));
            }
        }
        lines.shuffle(&mut self.generator.random);
        let mut text = String::new();
        for (line, _) in &lines {
            text.push_str(line);
            text.push_str(self.generator.pick(&["\n", "\r\n"]));
        }
        Asked {
            batch: RecipientBatch {
                count: u32::try_from(lines.len()).unwrap(),
                lines: text.into(),
                ..RecipientBatch::default()
            },
            slots: lines.into_iter().map(|(_, slot)| slot).collect(),
        }
    }

    /// Everybody by number, some twice, among integers that are no numbers.
    fn column(&mut self, kind: ContactKind) -> Asked {
        let mut numbers = self.numbers(kind);
        let twice = self.generator.pick(&numbers);
        numbers.push(twice);
        numbers.shuffle(&mut self.generator.random);
        let column = numbers.iter().map(|(number, _)| *number).collect();
        let batch = match kind {
            ContactKind::Phone => RecipientBatch { phones: column, ..RecipientBatch::default() },
            _ => RecipientBatch { contact_ids: column, ..RecipientBatch::default() },
        };
        Asked { batch, slots: numbers.into_iter().map(|(_, slot)| slot).collect() }
    }

    /// The same people as a bitmap, answered in ascending order.
    fn audience(&mut self, kind: ContactKind) -> Asked {
        let mut numbers = self.numbers(kind);
        numbers.sort_unstable_by_key(|(number, _)| *number);
        let members: RoaringTreemap = numbers.iter().map(|(number, _)| *number).collect();
        let mut bytes = Vec::new();
        members.serialize_into(&mut bytes).unwrap();
        Asked {
            batch: RecipientBatch { roaring: bytes.into(), ..RecipientBatch::default() },
            slots: numbers.into_iter().map(|(_, slot)| slot).collect(),
        }
    }

    fn numbers(&self, kind: ContactKind) -> Vec<(u64, Slot)> {
        let people = self.everybody(kind).into_iter();
        let mut numbers: Vec<(u64, Slot)> =
            people.map(|who| (self.people[who].number.unwrap(), Slot::Person(who))).collect();
        if kind == ContactKind::Phone {
            numbers.extend(NO_NUMBERS.map(|number| (number, Slot::Nobody)));
            numbers.push((NO_COUNTRY, Slot::NoCountry));
        }
        numbers
    }
}

/// The bits, or the bitmap, permit exactly those whose reason is PERMITTED.
fn check_bits(answer: &ScopeAnswer, batch: &RecipientBatch, reasons: &[Reason]) {
    assert_eq!(answer.recipients as usize, reasons.len());
    let permits: Vec<bool> = reasons.iter().map(|reason| *reason == Reason::Permitted).collect();
    let permitted = permits.iter().filter(|each| **each).count();
    assert_eq!(answer.permitted_count as usize, permitted);
    if batch.roaring.is_empty() {
        let mut bits = vec![0_u8; reasons.len().div_ceil(8)];
        for (at, _) in permits.iter().enumerate().filter(|(_, permitted)| **permitted) {
            bits[at / 8] |= 1 << (at % 8);
        }
        assert_eq!(answer.permitted, bits);
    } else {
        let read = |bytes: &[u8]| RoaringTreemap::deserialize_from(bytes).unwrap();
        let asked = read(&batch.roaring);
        let expected: RoaringTreemap =
            asked.iter().zip(&permits).filter(|(_, each)| **each).map(|(id, _)| id).collect();
        assert_eq!(read(&answer.permitted), expected);
    }
}

fn count(reasons: &[Reason]) -> BTreeMap<Reason, u64> {
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(*reason).or_default() += 1;
    }
    counts
}
