//! What is asked of the server besides events: erasures and rectifications, and
//! starts after a crash.

use sendgate::proto::v1::{
    Actor, ActorRole, CheckRequest, CheckpointRequest, Contact, ContactKind, EraseRequest, Erasure,
    RectifyRequest,
};

use super::{Pair, rights::Erased, wire};

impl Pair {
    /// One of the acts that are no events.
    pub async fn act(&mut self) {
        match self.generator.pick(&[0, 0, 1, 1, 2]) {
            0 => self.erase().await,
            1 => self.rectify().await,
            _ => self.checkpoint().await,
        }
    }

    /// Erases some contacts in one request, now and then one of them twice.
    pub async fn erase(&mut self) {
        let count = self.generator.pick(&[1, 1, 1, 2, 4]);
        let mut asked: Vec<_> = (0..count).map(|_| self.generator.erasure()).collect();
        if self.generator.chance(20) {
            asked.push(asked[0]);
        }
        let erasure = |(brand, who): &(Option<&str>, usize)| Erasure {
            brand: brand.unwrap_or("*").to_owned(),
            contact: Some(self.spelled(*who)),
            source: "letter".to_owned(),
            note: "ticket".to_owned(),
            actor: staff(),
        };
        let request = EraseRequest { erasures: asked.iter().map(erasure).collect() };
        let answer = self.server.consent().erase(request).await.unwrap().into_inner();
        assert_eq!(answer.results.len(), asked.len());
        for ((brand, who), result) in asked.into_iter().zip(answer.results) {
            let before = self.history(who);
            let expected = self.model.erase(brand, who);
            let found = Erased {
                revision: result.revision,
                events: result.events,
                survivors: result.survivors,
            };
            assert_eq!(result.rejection, None);
            assert_eq!(found, expected, "person {who} in {brand:?}, {before}");
            self.coverage.survivors += found.survivors;
        }
        assert_eq!(answer.revision.unwrap().revision, self.model.revision);
    }

    pub async fn rectify(&mut self) {
        let (brand, from, to) = self.generator.rectification();
        let request = RectifyRequest {
            brand: brand.to_owned(),
            from: Some(self.spelled(from)),
            to: Some(self.spelled(to)),
            source: "call".to_owned(),
            actor: staff(),
        };
        let answer = self.server.consent().rectify(request).await.unwrap().into_inner();
        let before = format!("{}\nto {}", self.history(from), self.history(to));
        let expected = self.model.rectify(brand, from, to);
        let found = (answer.rectification, answer.moved, answer.kept);
        let expected = (expected.revision, expected.moved, expected.kept);
        assert_eq!(found, expected, "person {from} is {to} in {brand}, {before}");
        self.coverage.moved += answer.moved;
        assert_eq!(answer.revision.unwrap().revision, self.model.revision);
    }

    /// A checkpoint at any time, so that events stand before and behind it.
    pub async fn checkpoint(&mut self) {
        self.server.admin().checkpoint(CheckpointRequest {}).await.unwrap();
    }

    /// Goes on as after a crash.
    ///
    /// The ledger keeps the high water of the consents as far as it has shown
    /// (R6); of an hour in which nothing ended it need not know.
    pub async fn crash(&mut self) {
        self.server.crash(self.model.revision).await;
        let verdicts = |pair: &Self| -> Vec<_> {
            let scopes = pair.scopes.iter();
            let of_kind = |kind: ContactKind| {
                (0..pair.people.len()).filter(move |who| pair.people[*who].kind == kind)
            };
            let asked =
                scopes.flat_map(|(kind, scope)| of_kind(*kind).map(move |who| (who, scope)));
            asked.map(|(who, scope)| pair.model.verdict(who, scope)).collect()
        };
        let before = verdicts(self);
        let (_, scope) = self.scopes[0];
        let request = CheckRequest {
            brand: scope.brand.to_owned(),
            scope: Some(wire::wire_scope(&scope)),
            contact: Some(self.contact(0)),
            ..CheckRequest::default()
        };
        let as_of = self.server.filter().check(request).await.unwrap().into_inner().as_of_ms;
        assert!((self.model.clock..=self.model.high_water).contains(&as_of));
        self.model.high_water = as_of;
        assert_eq!(verdicts(self), before, "a crash revived something");
    }

    /// A contact in its first spelling.
    pub fn contact(&self, who: usize) -> Contact {
        let person = &self.people[who];
        wire::contact(person.kind, &person.spellings[0])
    }

    /// A contact in one of its spellings.
    fn spelled(&mut self, who: usize) -> Contact {
        let person = &self.people[who];
        let spellings: Vec<&str> = person.spellings.iter().map(String::as_str).collect();
        wire::contact(person.kind, self.generator.pick(&spellings))
    }
}

fn staff() -> Option<Actor> {
    Some(Actor { role: ActorRole::Staff.into(), id: String::new() })
}
