//! Explain as of the past: held to what was answered then, and with hindsight
//! to the model.

use std::collections::BTreeSet;

use rand::RngExt;
use sendgate::proto::v1::{
    ApplyPolicyRequest, CheckRequest, ContactKind, ExplainRequest, ExplainResponse, Reason,
    Revision,
};

use super::{
    Pair, Seed,
    people::{POLICY, VALIDITY},
    rules::Model,
    wire::wire_scope,
    words::{DAY, Regime, Scope, Time},
};

const STEPS: usize = 48;
const QUESTIONS_PER_STEP: usize = 8;

/// What Check answered, when it did.
struct Told {
    who: usize,
    kind: ContactKind,
    scope: Scope,
    reason: Reason,
    revision: Revision,
    as_of: Time,
    policy_version: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_explained_as_it_was_told_with_seed_11() {
    run(11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_explained_as_it_was_told_with_seed_12() {
    run(12).await;
}

async fn run(seed: u64) {
    let _seed = Seed(seed);
    let mut pair = Pair::start(seed).await;
    let mut told = Vec::new();
    for step in 0..STEPS {
        pair.step_forward().await;
        if step % 12 == 11 {
            pair.change_policy(step).await;
        }
        pair.write().await;
        pair.write().await;
        for _ in 0..QUESTIONS_PER_STEP {
            told.push(pair.ask_somebody().await);
        }
        if step == STEPS / 2 {
            pair.server.restart().await;
        }
    }
    let mut seen = 0;
    for told in &told {
        seen += usize::from(pair.explain_as_told(told).await != told.reason);
    }
    assert!(seen > 0, "hindsight never changed a verdict");
    let reasons: BTreeSet<Reason> = told.iter().map(|told| told.reason).collect();
    assert!(reasons.len() > 10, "{reasons:?}");
    let policies: BTreeSet<&str> = told.iter().map(|told| told.policy_version.as_str()).collect();
    assert_eq!(policies.len(), 1 + STEPS / 12);
}

impl Pair {
    /// Moves the clock ahead, often onto an end; a time has one step only.
    async fn step_forward(&mut self) {
        let ends = self.model.ends(&[VALIDITY]);
        let clock = self.generator.next_clock(self.model.clock, &ends).max(self.model.clock + 1);
        self.model.set_clock(clock);
        self.server.set_clock(clock);
        self.touch().await;
    }

    /// Applies a policy under which other people are permitted.
    async fn change_policy(&mut self, step: usize) {
        let days = 1 + self.generator.random.random_range(0..4);
        let service = self.generator.pick(&[Regime::OptIn, Regime::OptOut]);
        let regime = if service == Regime::OptIn { "opt_in" } else { "opt_out" };
        let toml = POLICY
            .replace("version = \"model\"", &format!("version = \"model-{step}\""))
            .replace("default_validity_days = 2", &format!("default_validity_days = {days}"))
            .replace("individual = \"opt_out\"", &format!("individual = \"{regime}\""));
        let dry = ApplyPolicyRequest { toml, dry_run: true, ..ApplyPolicyRequest::default() };
        let counted = self.server.admin().apply_policy(dry.clone()).await.unwrap().into_inner();
        let request = ApplyPolicyRequest {
            permits_more: counted.changes.iter().map(|change| change.newly_permitted).sum(),
            permits_unknown: true,
            dry_run: false,
            ..dry
        };
        let applied = self.server.admin().apply_policy(request).await.unwrap().into_inner();
        self.model.revision += 1;
        assert_eq!(applied.revision.unwrap().revision, self.model.revision);
        for (_, scope) in &mut self.scopes {
            scope.validity = scope.validity.map(|_| days * DAY);
            if scope.purpose == "service" && scope.recipient_type == super::words::Type::Individual
            {
                scope.regime = service;
            }
        }
    }

    async fn ask_somebody(&mut self) -> Told {
        let (kind, scope) = self.generator.pick(&self.scopes);
        let of_kind: Vec<usize> =
            (0..self.people.len()).filter(|who| self.people[*who].kind == kind).collect();
        let who = self.generator.pick(&of_kind);
        let request = CheckRequest {
            brand: scope.brand.to_owned(),
            scope: Some(wire_scope(&scope)),
            contact: Some(self.contact(who)),
            ..CheckRequest::default()
        };
        let answer = self.server.filter().check(request).await.unwrap().into_inner();
        assert_eq!(answer.reason(), self.model.verdict(who, &scope), "{}", self.history(who));
        let (reason, as_of) = (answer.reason(), answer.as_of_ms);
        let (revision, policy_version) = (answer.revision.unwrap(), answer.policy_version);
        Told { who, kind, scope, reason, revision, as_of, policy_version }
    }

    /// Explains what was told in every way that names the moment; returns what
    /// is known with hindsight.
    async fn explain_as_told(&self, told: &Told) -> Reason {
        let request = ExplainRequest {
            brand: told.scope.brand.to_owned(),
            scope: Some(wire_scope(&told.scope)),
            contact: Some(self.contact(told.who)),
            ..ExplainRequest::default()
        };
        let (time, revision) = (Some(told.as_of), Some(told.revision.clone()));
        let both =
            ExplainRequest { as_of_ms: time, as_of_revision: revision.clone(), ..request.clone() };
        let found = self.explained(both.clone()).await;
        self.compare_told(told, &found);
        let found = self.explained(ExplainRequest { as_of_ms: time, ..request.clone() }).await;
        self.compare_told(told, &found);
        let found = self.explained(ExplainRequest { as_of_revision: revision, ..request }).await;
        if found.as_of_ms == told.as_of {
            self.compare_told(told, &found);
        }

        let found = self.explained(ExplainRequest { with_hindsight: true, ..both }).await;
        let mut known = Model::new(self.model.revision, told.as_of);
        let had_happened =
            |revision, time| revision <= told.revision.revision || time <= told.as_of;
        let accepted = self.model.accepted.iter();
        known.accepted =
            accepted.filter(|each| had_happened(each.revision, each.time)).cloned().collect();
        let expected = known.verdict(told.who, &told.scope);
        assert_eq!(found.reason(), expected, "with hindsight, {}", self.history(told.who));
        assert_eq!(found.policy_version, told.policy_version);
        assert_eq!(found.revision.unwrap().revision, self.model.revision);
        expected
    }

    async fn explained(&self, request: ExplainRequest) -> ExplainResponse {
        self.server.consent().explain(request).await.unwrap().into_inner()
    }

    fn compare_told(&self, told: &Told, found: &ExplainResponse) {
        let Told { who, kind, scope, revision, as_of, .. } = told;
        let context = format!(
            "a {kind:?} in {scope:?} at revision {} and {as_of}, {}",
            revision.revision,
            self.history(*who)
        );
        assert_eq!(found.reason(), told.reason, "{context}");
        assert_eq!(found.permitted, told.reason == Reason::Permitted);
        assert!(!found.erased_record && !found.truncated);
        assert_eq!((found.as_of_ms, &found.policy_version), (*as_of, &told.policy_version));
        let regime = match scope.regime {
            Regime::OptIn => "opt_in",
            Regime::OptOut => "opt_out",
            Regime::Exempt => "exempt",
        };
        assert_eq!(found.regime, regime);
        let known = self.model.accepted.iter().filter(|each| {
            each.said.who == *who
                && each.said.brand.is_none_or(|brand| brand == scope.brand)
                && each.revision <= revision.revision
        });
        let known: Vec<(u64, Time)> = known.map(|each| (each.revision, each.time)).collect();
        let listed = found.records.iter().map(|each| (each.revision, each.effective_time_ms));
        assert_eq!(listed.collect::<Vec<_>>(), known, "{context}");
        if let Some(deciding) = &found.deciding {
            assert!(found.records.contains(deciding), "{context}");
            assert!(found.since_ms.is_some());
        }
    }
}
