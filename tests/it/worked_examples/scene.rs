//! One contact on two stages: the rules themselves, and a running server.

use std::{sync::atomic::Ordering, time::Duration};

use sendgate::{
    domain::{
        contact::Address,
        decide::{Known, decide},
        erased::ErasedMark,
        event::{
            Actor, ActorRole, Change, ChangeKind, Consent, Evidence, Lift, Notice, Suppression,
        },
        policy::{Names, Policy, STARTER},
        reason::Reason,
        scope::{BrandId, ChannelId, Level, PurposeId, RecipientType, TypeSelector},
        state::{ConsentRecord, ContactState, Span, Status},
        time::{Now, Precision, StatedTime},
    },
    proto::v1,
};

use crate::support::{HOUR, START, TestServer, phone, scope};

pub use RecipientType::{Individual, Merchant};

/// The worked examples count in hours.
pub fn hour(hours: i64) -> i64 {
    START + hours * HOUR
}

pub fn to_the(precision: Precision, unix_ms: i64) -> StatedTime {
    StatedTime { unix_ms, precision }
}

/// Everything said is said on both stages, and everything asked is asked on both.
pub struct Scene {
    server: TestServer,
    policy: Policy,
    now: i64,
    number: u64,
    state: ContactState,
    mark: Option<ErasedMark>,
}

impl Scene {
    pub async fn start() -> Self {
        Self {
            server: TestServer::start().await,
            policy: Policy::read(STARTER, Names::default()).unwrap(),
            now: START,
            number: 905_321_234_567,
            state: ContactState::default(),
            mark: None,
        }
    }

    /// Somebody of whom nothing is known yet.
    pub fn somebody_else(&mut self) {
        self.number += 1;
        self.state = ContactState::default();
        self.mark = None;
    }

    /// Sets the clock, and waits until the server answers for that time.
    pub async fn at(&mut self, time: i64) {
        self.now = time;
        self.server.set_clock(time);
        for _ in 0..1_000 {
            if self.ask(Individual, "sms", "marketing").await.as_of_ms == time {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server does not follow its clock");
    }

    /// The contact grants a purpose on sms, stated in hours.
    pub async fn grants(&mut self, recipient_type: RecipientType, purpose: &str, at: i64) {
        self.grants_until(recipient_type, purpose, at, None).await;
    }

    pub async fn grants_until(
        &mut self,
        recipient_type: RecipientType,
        purpose: &str,
        at: i64,
        until: Option<i64>,
    ) {
        let time = to_the(Precision::Millisecond, hour(at));
        let outcome = self.grants_stated(recipient_type, purpose, time, until.map(hour)).await;
        assert_ne!(outcome, v1::Outcome::Rejected);
    }

    pub async fn grants_stated(
        &mut self,
        recipient_type: RecipientType,
        purpose: &str,
        time: StatedTime,
        valid_until: Option<i64>,
    ) -> v1::Outcome {
        let consent = self.consent(recipient_type.into(), "sms", purpose, Status::Granted);
        self.say(time, ChangeKind::Consent(Consent { valid_until, ..consent })).await
    }

    /// The contact withdraws, for both types, what is named.
    pub async fn withdraws(&mut self, channel: &str, purpose: &str, at: i64) {
        let time = to_the(Precision::Millisecond, hour(at));
        self.withdraws_stated(channel, purpose, time).await;
    }

    pub async fn withdraws_stated(&mut self, channel: &str, purpose: &str, time: StatedTime) {
        let consent = self.consent(TypeSelector::Any, channel, purpose, Status::Withdrawn);
        let outcome = self.say(time, ChangeKind::Consent(consent)).await;
        assert_ne!(outcome, v1::Outcome::Rejected);
    }

    /// Suppressed on every channel, since an hour.
    pub async fn suppressed(&mut self, reason: Reason, since: i64) -> v1::Outcome {
        let suppression =
            Suppression { channel: ChannelId::ANY, reason, expires_at: None, note: String::new() };
        let since = to_the(Precision::Millisecond, hour(since));
        self.say(since, ChangeKind::Suppression(suppression)).await
    }

    pub async fn lifted(&mut self, reason: Reason, at: i64) {
        let lift = Lift { channel: ChannelId::ANY, reason, note: String::new() };
        let outcome =
            self.say(to_the(Precision::Millisecond, hour(at)), ChangeKind::Lift(lift)).await;
        assert_eq!(outcome, v1::Outcome::Applied);
    }

    /// Erases the contact now (R11).
    pub async fn is_erased(&mut self) {
        let erasure = v1::Erasure {
            brand: "main".to_owned(),
            contact: Some(phone(&format!("+{}", self.number))),
            ..v1::Erasure::default()
        };
        let request = v1::EraseRequest { erasures: vec![erasure] };
        self.server.consent().erase(request).await.unwrap();
        let erased_at = self.server.clock.load(Ordering::SeqCst);
        self.state = ContactState::default();
        self.mark = Some(ErasedMark { erased_at, ..ErasedMark::default() });
    }

    /// Holds both stages to a verdict for a message by sms.
    pub async fn expect(&self, recipient_type: RecipientType, purpose: &str, expected: Reason) {
        self.expect_on("sms", recipient_type, purpose, expected).await;
    }

    pub async fn expect_on(
        &self,
        channel: &str,
        recipient_type: RecipientType,
        purpose: &str,
        expected: Reason,
    ) {
        let named = self.policy.scope("main", recipient_type, channel, purpose).unwrap();
        let known = Known {
            brand: &self.state,
            all_brands: &ContactState::default(),
            erased: [self.mark.as_ref(), None],
        };
        let rules = self.policy.rules(&named).unwrap();
        let decided = decide(known, rules, Now::at(self.now)).reason;
        assert_eq!(decided, expected, "by the rules");

        let answer = self.ask(recipient_type, channel, purpose).await;
        assert_eq!(answer.reason as u8, expected as u8, "by the server: {answer:?}");
        assert_eq!(answer.permitted, expected == Reason::Permitted);
        let described = self.describe(recipient_type, channel, purpose).await;
        assert_eq!(described.reason as u8, expected as u8, "by the ledger: {described:?}");
    }

    pub fn server(&self) -> &TestServer {
        &self.server
    }

    pub fn address(&self) -> String {
        format!("+{}", self.number)
    }

    /// Enters what an import brought into the state of the first stage.
    pub fn enter(&mut self, channel: &str, purpose: &str, status: Status, at: i64) {
        let selector = TypeSelector::Individual;
        let consent = self.consent(selector, channel, purpose, status);
        let change = self.change(to_the(Precision::Second, hour(at)), ChangeKind::Consent(consent));
        self.apply(&change);
    }

    fn consent(
        &self,
        selector: TypeSelector,
        channel: &str,
        purpose: &str,
        status: Status,
    ) -> Consent {
        let brand = self.policy.brand("main").unwrap();
        let channel = match channel {
            "*" => ChannelId::ANY,
            name => self.policy.channel(brand, name).unwrap(),
        };
        let purpose = match purpose {
            "*" => PurposeId::ANY,
            name => self.policy.purpose(brand, name).unwrap(),
        };
        Consent {
            selector,
            level: Level::new(channel, purpose).unwrap(),
            status,
            valid_until: None,
            legal_basis: String::new(),
            notice: Notice::default(),
            collected_by: String::new(),
            evidence: Evidence::default(),
            registered_with: String::new(),
        }
    }

    fn change(&self, time: StatedTime, kind: ChangeKind) -> Change {
        Change {
            brand: self.policy.brand("main").unwrap(),
            address: Address::Phone(self.number),
            stated: Some(time),
            source: String::new(),
            actor: Actor { role: ActorRole::System, id: String::new() },
            event_key: String::new(),
            rectification: 0,
            kind,
        }
    }

    async fn say(&mut self, time: StatedTime, kind: ChangeKind) -> v1::Outcome {
        let change = self.change(time, kind);
        let outcome = self.send(&change).await;
        if outcome != v1::Outcome::Rejected {
            self.apply(&change);
        }
        outcome
    }

    /// The first stage: the state of the contact, without a server.
    fn apply(&mut self, change: &Change) {
        let time = change.effective_time(self.now).unwrap();
        match &change.kind {
            ChangeKind::Consent(consent) => {
                self.state.record(ConsentRecord {
                    level: consent.level,
                    selector: consent.selector,
                    status: consent.status,
                    consent_time: time,
                    valid_until: consent.valid_until,
                    content: [0; 16],
                    revision: 1,
                });
            }
            ChangeKind::Suppression(entry) => {
                let span = Span { since: time, expires_at: entry.expires_at, revision: 1 };
                self.state.suppress(entry.channel, entry.reason, span);
            }
            ChangeKind::Lift(lift) => {
                self.state.lift(lift.channel, lift.reason, time, 1);
            }
        }
    }

    /// The second stage: the server.
    async fn send(&self, change: &Change) -> v1::Outcome {
        assert_ne!(change.brand, BrandId::ALL);
        let brand = "main".to_owned();
        let contact = Some(phone(&self.address()));
        let time = change.stated.map(|stated| v1::StatedTime {
            unix_ms: stated.unix_ms,
            precision: stated.precision as i32,
        });
        let mut client = self.server.consent();
        let results = match &change.kind {
            ChangeKind::Consent(consent) => {
                let event = v1::ConsentEvent {
                    brand,
                    contact,
                    recipient_type: consent.selector as i32,
                    channel: self.policy.channel_name(consent.level.channel()).to_owned(),
                    purpose: self.policy.purpose_name(consent.level.purpose()).to_owned(),
                    status: consent.status as i32,
                    consent_time: time,
                    valid_until_ms: consent.valid_until,
                    ..v1::ConsentEvent::default()
                };
                let request = v1::RecordRequest { events: vec![event] };
                client.record(request).await.unwrap().into_inner().results
            }
            ChangeKind::Suppression(entry) => {
                let suppression = v1::Suppression {
                    brand,
                    contact,
                    reason: entry.reason as i32,
                    since: time,
                    ..v1::Suppression::default()
                };
                let request = v1::SuppressRequest { suppressions: vec![suppression] };
                client.suppress(request).await.unwrap().into_inner().results
            }
            ChangeKind::Lift(lift) => {
                let role = v1::ActorRole::System.into();
                let lift = v1::Lift {
                    brand,
                    contact,
                    actor: Some(v1::Actor { role, id: String::new() }),
                    reason: lift.reason as i32,
                    time,
                    ..v1::Lift::default()
                };
                let request = v1::LiftRequest { lifts: vec![lift] };
                client.lift(request).await.unwrap().into_inner().results
            }
        };
        results[0].outcome()
    }

    async fn ask(
        &self,
        recipient_type: RecipientType,
        channel: &str,
        purpose: &str,
    ) -> v1::CheckResponse {
        let request = v1::CheckRequest {
            brand: "main".to_owned(),
            scope: Some(wire_scope(recipient_type, channel, purpose)),
            contact: Some(phone(&self.address())),
            ..v1::CheckRequest::default()
        };
        self.server.filter().check(request).await.unwrap().into_inner()
    }

    async fn describe(
        &self,
        recipient_type: RecipientType,
        channel: &str,
        purpose: &str,
    ) -> v1::Description {
        let request = v1::DescribeRequest {
            brand: "main".to_owned(),
            scope: Some(wire_scope(recipient_type, channel, purpose)),
            contact_kind: v1::ContactKind::Phone.into(),
            addresses: vec![self.address()],
            ..v1::DescribeRequest::default()
        };
        self.server.filter().describe(request).await.unwrap().into_inner().descriptions[0]
    }
}

fn wire_scope(recipient_type: RecipientType, channel: &str, purpose: &str) -> v1::Scope {
    let recipient_type = match recipient_type {
        Individual => v1::RecipientType::Individual,
        Merchant => v1::RecipientType::Merchant,
    };
    scope(recipient_type, channel, purpose)
}
