//! R7's table over the wire, row by row and regime by regime: what blocks, who
//! may lift it, whether a later grant ends it, whether its end does.
//!
//! What is expected stands here as it stands in the rules, and nothing computes it.

use sendgate::proto::v1::{
    Actor,
    ActorRole::{self, Customer, Registry, Staff, System},
    ApplyPolicyRequest, CheckRequest, ConsentEvent, EraseRequest, Erasure, EventResult, Lift,
    LiftRequest, Outcome,
    Reason::{
        self, Erased, HardBounce, InvalidAddress, LegalBlock, LineClosed, ManualBlock, NoConsent,
        Objected, Permitted, Restricted, SoftBounce, SpamComplaint,
    },
    RecipientType, RecordRequest, RejectCode, SuppressRequest, Suppression,
};

use crate::support::{HOUR, START, TestServer, at, grant, phone, scope, verified};

/// One purpose a regime.
const POLICY: &str = r#"
version = "table"
[channels.sms]
kinds = ["phone"]
[purposes.asked]
individual = "opt_in"
[purposes.unasked]
individual = "opt_out"
[purposes.exempt]
individual = "exempt"
[brands.main]
"#;
const PURPOSES: [&str; 3] = ["asked", "unasked", "exempt"];
const ROLES: [ActorRole; 5] = [ActorRole::Unspecified, System, Customer, Staff, Registry];

/// A row of the table; the three columns of an array are opt_in, opt_out, exempt.
struct Row {
    reason: Reason,
    /// The verdict while it stands, on somebody who granted before it.
    blocked: [Reason; 3],
    /// The verdict once somebody granted after it.
    granted_later: [Reason; 3],
    lifted_by: &'static [ActorRole],
}

const fn row(
    reason: Reason,
    blocked: [Reason; 3],
    granted_later: [Reason; 3],
    lifted_by: &'static [ActorRole],
) -> Row {
    Row { reason, blocked, granted_later, lifted_by }
}

#[rustfmt::skip]
const TABLE: [Row; 10] = [
    // An erasure takes the grant too, and under opt_in that is all it does (R11).
    row(Erased, [NoConsent, Erased, Erased], [Permitted, Permitted, Erased], &[Staff, System]),
    row(LegalBlock, [LegalBlock; 3], [LegalBlock; 3], &[Staff]),
    row(Restricted, [Restricted; 3], [Restricted; 3], &[Staff]),
    row(InvalidAddress, [InvalidAddress; 3], [InvalidAddress; 3], &[Staff, System]),
    row(LineClosed, [LineClosed; 3], [Permitted, Permitted, LineClosed], &[Staff, System]),
    row(HardBounce, [HardBounce; 3], [HardBounce; 3], &[Staff, System]),
    row(SpamComplaint, [SpamComplaint; 3], [Permitted, Permitted, SpamComplaint], &[Staff, System]),
    row(ManualBlock, [ManualBlock; 3], [ManualBlock; 3], &[Staff]),
    row(Objected, [Objected, Objected, Permitted], [Permitted; 3], &[Staff]),
    row(SoftBounce, [SoftBounce; 3], [SoftBounce; 3], &[System]),
];

/// Somebody of whom nobody else in this test speaks.
fn somebody(row: usize, case: usize) -> String {
    format!("+90532123{:04}", row * 100 + case)
}

struct Table {
    server: TestServer,
}

impl Table {
    async fn start() -> Self {
        let server = TestServer::start().await;
        let request = ApplyPolicyRequest {
            toml: POLICY.to_owned(),
            drops_scopes: true,
            permits_unknown: true,
            ..ApplyPolicyRequest::default()
        };
        server.admin().apply_policy(request).await.unwrap();
        Self { server }
    }

    /// Grants every purpose at a time.
    async fn grant(&self, address: &str, time: i64) {
        let events = PURPOSES
            .map(|purpose| ConsentEvent { purpose: purpose.to_owned(), ..grant(address, time) })
            .to_vec();
        let results = self.server.consent().record(RecordRequest { events }).await.unwrap();
        for result in results.into_inner().results {
            assert_eq!(result.outcome(), Outcome::Applied, "{:?}", result.rejection);
        }
    }

    /// Enters a reason as of now, with an end.
    async fn block(&self, address: &str, reason: Reason, expires_at_ms: Option<i64>) {
        if reason == Erased {
            let erasure = Erasure {
                brand: "main".to_owned(),
                contact: Some(phone(address)),
                ..Erasure::default()
            };
            let request = EraseRequest { erasures: vec![erasure] };
            let answer = self.server.consent().erase(request).await.unwrap().into_inner();
            assert_eq!(answer.results[0].rejection, None);
            return;
        }
        let result = self.suppress(address, reason, expires_at_ms).await;
        assert_eq!(result.outcome(), Outcome::Applied, "{:?}", result.rejection);
    }

    async fn suppress(&self, address: &str, reason: Reason, end: Option<i64>) -> EventResult {
        let entry = Suppression {
            brand: "main".to_owned(),
            contact: Some(phone(address)),
            reason: reason.into(),
            since: at(START),
            expires_at_ms: end,
            ..Suppression::default()
        };
        let request = SuppressRequest { suppressions: vec![entry] };
        self.server.consent().suppress(request).await.unwrap().into_inner().results.remove(0)
    }

    /// Lifts an entry at a time, in a role.
    async fn lift(&self, address: &str, reason: Reason, role: ActorRole, time: i64) -> EventResult {
        let lift = Lift {
            brand: "main".to_owned(),
            contact: Some(phone(address)),
            reason: reason.into(),
            time: at(time),
            actor: Some(Actor { role: role.into(), id: String::new() }),
            ..Lift::default()
        };
        let request = LiftRequest { lifts: vec![lift] };
        self.server.consent().lift(request).await.unwrap().into_inner().results.remove(0)
    }

    async fn verdicts(&self, address: &str) -> [Reason; 3] {
        let mut verdicts = [Reason::Unspecified; 3];
        for (verdict, purpose) in verdicts.iter_mut().zip(PURPOSES) {
            let request = CheckRequest {
                brand: "main".to_owned(),
                scope: Some(scope(RecipientType::Individual, "sms", purpose)),
                contact: Some(phone(address)),
                ..CheckRequest::default()
            };
            *verdict = self.server.filter().check(request).await.unwrap().into_inner().reason();
        }
        verdicts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_blocks_and_ends_as_the_table_says() {
    let table = Table::start().await;
    let [stands, later, ends, lifts] = [0, 1, 2, 10];
    let far = |reason| (reason == SoftBounce).then_some(START + 100 * HOUR);
    for (at, row) in TABLE.iter().enumerate() {
        for case in [stands, later] {
            table.grant(&somebody(at, case), START - HOUR).await;
            table.block(&somebody(at, case), row.reason, far(row.reason)).await;
        }
        if row.reason != Erased {
            table.grant(&somebody(at, ends), START - HOUR).await;
            table.block(&somebody(at, ends), row.reason, Some(START + HOUR)).await;
        }
        for (case, _) in (lifts..).zip(ROLES) {
            table.grant(&somebody(at, case), START - HOUR).await;
            table.block(&somebody(at, case), row.reason, far(row.reason)).await;
        }
    }
    table.server.set_clock(START + HOUR - 1);
    table.grant(&somebody(90, 0), START).await;
    for (at, row) in TABLE.iter().enumerate() {
        assert_eq!(table.verdicts(&somebody(at, stands)).await, row.blocked, "{:?}", row.reason);
        if row.reason != Erased {
            let found = table.verdicts(&somebody(at, ends)).await;
            assert_eq!(found, row.blocked, "{:?} with an end", row.reason);
        }
    }

    table.server.set_clock(START + HOUR);
    for (at, row) in TABLE.iter().enumerate() {
        table.grant(&somebody(at, later), START + HOUR).await;
        let found = table.verdicts(&somebody(at, later)).await;
        assert_eq!(found, row.granted_later, "{:?} and a later grant", row.reason);
        if row.reason != Erased {
            let found = table.verdicts(&somebody(at, ends)).await;
            assert_eq!(found, [Permitted; 3], "{:?} at its end", row.reason);
        }
        for (case, role) in (lifts..).zip(ROLES) {
            let address = somebody(at, case);
            let result = table.lift(&address, row.reason, role, START + HOUR).await;
            let (outcome, expected) = if row.lifted_by.contains(&role) {
                // An erased grant does not come back with a lift.
                let opt_in = if row.reason == Erased { NoConsent } else { Permitted };
                (Outcome::Applied, [opt_in, Permitted, Permitted])
            } else {
                assert_eq!(result.rejection.as_ref().unwrap().code(), RejectCode::NotAllowed);
                (Outcome::Rejected, row.blocked)
            };
            assert_eq!(result.outcome(), outcome, "{:?} lifted by {role:?}", row.reason);
            let found = table.verdicts(&address).await;
            assert_eq!(found, expected, "{:?} lifted by {role:?}", row.reason);
        }
    }
    verified(table.server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_the_same_instant_or_in_another_scope_ends_nothing() {
    let table = Table::start().await;
    for (at, row) in TABLE.iter().enumerate() {
        let (same, other) = (somebody(at, 0), somebody(at, 1));
        let end = (row.reason == SoftBounce).then_some(START + 100 * HOUR);
        if row.reason != Erased {
            // Of an erased contact such a grant is refused: tests/it/rights.rs.
            table.grant(&same, START).await;
            table.block(&same, row.reason, end).await;
            assert_eq!(table.verdicts(&same).await, row.blocked, "{:?}", row.reason);
        }
        table.block(&other, row.reason, end).await;
    }
    table.server.set_clock(START + HOUR);
    for (at, row) in TABLE.iter().enumerate() {
        let address = somebody(at, 1);
        let event = ConsentEvent { purpose: "asked".to_owned(), ..grant(&address, START + HOUR) };
        table.server.consent().record(RecordRequest { events: vec![event] }).await.unwrap();
        let [_, unasked, exempt] = row.blocked;
        let expected = [row.granted_later[0], unasked, exempt];
        assert_eq!(table.verdicts(&address).await, expected, "{:?}", row.reason);
    }
    verified(table.server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sets_erased_and_a_soft_bounce_needs_its_end() {
    let table = Table::start().await;
    for reason in [Erased, SoftBounce] {
        let result = table.suppress(&somebody(0, 0), reason, None).await;
        assert_eq!(result.rejection.unwrap().code(), RejectCode::InvalidArgument, "{reason:?}");
    }
}
