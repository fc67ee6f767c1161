//! Tokens of a running server: made, used, revoked, kept, and told of.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use sendgate::{
    app::{Config, Server},
    caps::Limits,
    client::Client,
    clock::Clock,
    proto::v1::{
        Actor, ActorRole, ApplyPolicyRequest, CheckRequest, CheckpointRequest, ConsentEvent,
        CreateTokenRequest, DescribeRequest, ExplainRequest, GetStatisticsRequest,
        GetStatisticsResponse, HistoryRequest, ImportItem, ImportRequest, ListTokensRequest,
        RecipientType, RecordRequest, RevokeTokenRequest, TokenRole, import_item,
    },
    tokens::Token,
};
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{HOUR, START, TestServer, grant, phone, scope};

const TWO_BRANDS: &str = "version = \"brands\"\n[channels.sms]\nkinds = [\"phone\"]\n\
    [purposes.marketing]\nindividual = \"opt_in\"\n[brands.main]\n[brands.other]\n";

/// Known in both brands.
pub const KNOWN: &str = "+905321234567";
/// Known in none.
pub const UNKNOWN: &str = "+905321234568";

pub const FILTER: TokenRole = TokenRole::Filter;
pub const RECORD: TokenRole = TokenRole::Record;
pub const ADMIN: TokenRole = TokenRole::Admin;

/// A server with two brands that asks for tokens.
pub struct Guarded {
    pub server: TestServer,
    /// May do everything.
    pub boss: Token,
}

impl Guarded {
    pub async fn start() -> Self {
        Self::limited(Limits::default()).await
    }

    /// As [`start`](Self::start), with limits of its own.
    pub async fn limited(limits: Limits) -> Self {
        let server = TestServer::limited(limits).await;
        let policy = ApplyPolicyRequest { toml: TWO_BRANDS.to_owned(), ..Default::default() };
        server.admin().apply_policy(policy).await.unwrap();
        let events = vec![of("main", KNOWN), of("other", KNOWN)];
        server.consent().record(RecordRequest { events }).await.unwrap();
        let boss = request("boss", &["*"], &[ADMIN]);
        let boss = server.admin().create_token(boss).await.unwrap().into_inner().token;
        Self { server, boss: Token::parse(&boss).unwrap() }
    }

    /// A client that shows this token, on a connection of its own.
    pub async fn client(&self, token: Option<&Token>) -> Client {
        Client::connect(&self.server.endpoint()).await.unwrap().with_token(token).unwrap()
    }

    pub async fn create(&self, name: &str, brands: &[&str], roles: &[TokenRole]) -> Token {
        self.create_as(request(name, brands, roles)).await.unwrap()
    }

    pub async fn create_as(&self, request: CreateTokenRequest) -> Result<Token, Status> {
        let mut admin = self.client(Some(&self.boss)).await.admin_service();
        let token = admin.create_token(request).await?.into_inner().token;
        Ok(Token::parse(&token).unwrap())
    }

    pub async fn revoke(&self, name: &str) {
        let request = RevokeTokenRequest { name: name.to_owned(), actor: None };
        let mut admin = self.client(Some(&self.boss)).await.admin_service();
        admin.revoke_token(request).await.unwrap();
    }

    /// The rows of the audit log about this.
    pub fn rows(&self, event: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.server.folder.path().join("audit.jsonl")).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter(|row| row["event"] == event).collect()
    }

    /// As [`rows`](Self::rows), once there are so many: some are written after
    /// what they speak of.
    pub async fn rows_once(&self, event: &str, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let rows = self.rows(event);
            if rows.len() >= count {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{count} rows of {event} did not come: {:?}", self.rows(event));
    }

    pub async fn statistics(&self) -> GetStatisticsResponse {
        let mut admin = self.client(Some(&self.boss)).await.admin_service();
        admin.get_statistics(GetStatisticsRequest::default()).await.unwrap().into_inner()
    }
}

pub fn request(name: &str, brands: &[&str], roles: &[TokenRole]) -> CreateTokenRequest {
    CreateTokenRequest {
        name: name.to_owned(),
        brands: brands.iter().map(|brand| (*brand).to_owned()).collect(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        expires_at_ms: None,
        actor: Some(Actor { role: ActorRole::Staff.into(), id: "ayse".to_owned() }),
    }
}

pub fn of(brand: &str, address: &str) -> ConsentEvent {
    ConsentEvent { brand: brand.to_owned(), ..grant(address, START) }
}

/// The reason in the ErrorInfo of a status.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

pub fn check(brand: &str, address: &str) -> CheckRequest {
    CheckRequest {
        brand: brand.to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone(address)),
        ..CheckRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_ends_the_time_without_and_must_be_able_to_make_the_next() {
    let server = TestServer::start().await;
    for poor in [request("a", &["main"], &[ADMIN]), request("a", &["*"], &[FILTER, RECORD])] {
        let refused = server.admin().create_token(poor).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "FIRST_TOKEN_NOT_ADMIN");
    }
    server.filter().check(check("main", KNOWN)).await.unwrap();
    server.admin().create_token(request("boss", &["*"], &[ADMIN])).await.unwrap();
    let refused = server.filter().check(check("main", KNOWN)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unauthenticated, "TOKEN_MISSING".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grant_is_refused_with_its_field() {
    let guarded = Guarded::start().await;
    let cases = [
        (request("", &["main"], &[FILTER]), Code::InvalidArgument, "name"),
        (request("a b", &["main"], &[FILTER]), Code::InvalidArgument, "name"),
        (request("a", &[], &[FILTER]), Code::InvalidArgument, "brands"),
        (request("a", &["*", "main"], &[FILTER]), Code::InvalidArgument, "brands"),
        (request("a", &["mian"], &[FILTER]), Code::NotFound, "mian"),
        (request("a", &["main"], &[]), Code::InvalidArgument, "roles"),
        (request("a", &["main"], &[TokenRole::Unspecified]), Code::InvalidArgument, "roles"),
        (request("boss", &["main"], &[FILTER]), Code::AlreadyExists, "boss"),
        (
            CreateTokenRequest { expires_at_ms: Some(START), ..request("a", &["main"], &[FILTER]) },
            Code::InvalidArgument,
            "expires_at_ms",
        ),
    ];
    for (request, code, named) in cases {
        let refused = guarded.create_as(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(named), "{refused}");
    }
    let mut admin = guarded.client(Some(&guarded.boss)).await.admin_service();
    let missing = RevokeTokenRequest { name: "nobody".to_owned(), actor: None };
    assert_eq!(admin.revoke_token(missing).await.unwrap_err().code(), Code::NotFound);
    let tokens = admin.list_tokens(ListTokensRequest {}).await.unwrap().into_inner().tokens;
    assert_eq!(tokens.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_tokens_and_what_was_revoked_stays_so() {
    let mut guarded = Guarded::start().await;
    let kept = guarded.create("kept", &["main"], &[FILTER]).await;
    let revoked = guarded.create("revoked", &["main"], &[FILTER]).await;
    let brief = CreateTokenRequest {
        expires_at_ms: Some(START + HOUR),
        ..request("brief", &["main"], &[FILTER])
    };
    let brief = guarded.create_as(brief).await.unwrap();
    guarded.revoke("revoked").await;
    guarded.server.restart().await;

    let ask = async |token: &Token| {
        let mut filter = guarded.client(Some(token)).await.filter_service();
        filter.check(check("main", KNOWN)).await.map(|answer| answer.into_inner().permitted)
    };
    assert!(ask(&kept).await.unwrap() && ask(&brief).await.unwrap());
    assert_eq!(reason(&ask(&revoked).await.unwrap_err()), "TOKEN_UNKNOWN");
    guarded.server.set_clock(START + HOUR);
    assert_eq!(reason(&ask(&brief).await.unwrap_err()), "TOKEN_EXPIRED");

    let mut admin = guarded.client(Some(&guarded.boss)).await.admin_service();
    let tokens = admin.list_tokens(ListTokensRequest {}).await.unwrap().into_inner().tokens;
    let names: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["boss", "brief", "kept"]);
    assert_eq!(tokens[1].expires_at_ms, Some(START + HOUR));
    assert_eq!((&tokens[2].brands, tokens[2].created_at_ms), (&vec!["main".to_owned()], START));
    // Each life begins with who may call.
    let told = &guarded.rows("tokens")[1];
    assert_eq!(told["required"], true);
    assert_eq!(told["tokens"][2], "kept: filter for main");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_on_a_file_of_tokens_that_it_cannot_trust() {
    let mut guarded = Guarded::start().await;
    guarded.server.stop().await;
    let path = guarded.server.folder.path().join("tokens.json");
    let good = fs::read_to_string(&path).unwrap();
    let start = async || {
        let config = Config {
            folder: guarded.server.folder.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            http: None,
            tls: None,
            limits: Limits::default(),
            clock: Clock::System,
        };
        Server::start(config).await
    };
    let cases = [
        (good.clone(), 0o644, "mode 644"),
        (good.clone(), 0o660, "mode 660"),
        (good.replace("admin", "king"), 0o600, "no role"),
        (good.replace("\"version\": 1", "\"version\": 9"), 0o600, "version is 9"),
        ("hello".to_owned(), 0o600, "expected value"),
        (String::new(), 0o600, "EOF"),
    ];
    for (text, mode, expected) in cases {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = start().await.err().unwrap().to_string();
        assert!(error.contains("tokens.json") && error.contains(expected), "{error}");
    }
    fs::write(&path, good).unwrap();
    start().await.unwrap().stop().await.unwrap();
}

/// Everything that a caller sees of a refusal.
fn seen(status: &Status) -> (Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_shows_neither_contacts_nor_brands_of_others() {
    let guarded = Guarded::start().await;
    let token = guarded.create("shop", &["main"], &[FILTER, RECORD, ADMIN]).await;
    let client = guarded.client(Some(&token)).await;
    let (mut filter, mut consent) = (client.filter_service(), client.consent_service());
    let mut answers = Vec::new();
    for (brand, address) in [("other", KNOWN), ("other", UNKNOWN), ("none", KNOWN), ("*", KNOWN)] {
        let contact = || Some(phone(address));
        let wire_scope = || Some(scope(RecipientType::Individual, "sms", "marketing"));
        let brand = || brand.to_owned();
        let history = HistoryRequest { brand: brand(), contact: contact(), ..Default::default() };
        let explain = ExplainRequest {
            brand: brand(),
            scope: wire_scope(),
            contact: contact(),
            ..Default::default()
        };
        let describe = DescribeRequest {
            brand: brand(),
            scope: wire_scope(),
            contact_kind: sendgate::proto::v1::ContactKind::Phone.into(),
            addresses: vec![address.to_owned()],
            ..DescribeRequest::default()
        };
        let record = RecordRequest { events: vec![of(&brand(), address)] };
        answers.push([
            seen(&filter.check(check(&brand(), address)).await.unwrap_err()),
            seen(&filter.describe(describe).await.unwrap_err()),
            seen(&consent.history(history).await.unwrap_err()),
            seen(&consent.explain(explain).await.unwrap_err()),
            seen(&consent.record(record).await.unwrap_err()),
        ]);
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
        assert!(answer.iter().all(|(code, ..)| *code == Code::PermissionDenied));
    }
    assert!(filter.check(check("main", KNOWN)).await.unwrap().into_inner().permitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_brand_among_the_items_refuses_all_of_them() {
    let guarded = Guarded::start().await;
    let token = guarded.create("shop", &["main"], &[RECORD]).await;
    let mut consent = guarded.client(Some(&token)).await.consent_service();
    let before = guarded.server.revision();
    let events = vec![of("main", UNKNOWN), of("other", UNKNOWN)];
    let refused = consent.record(RecordRequest { events }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused), "BRAND_NOT_GRANTED");
    assert!(refused.message().contains("events[1].brand"), "{refused}");
    assert_eq!(guarded.server.revision(), before, "half of it was recorded");

    let chunk = |brands: &[&str], first: u64| ImportRequest {
        items: (brands.iter().zip(first..))
            .map(|(brand, at)| ImportItem {
                change: Some(import_item::Change::Consent(of(brand, &format!("+90532555{at:04}")))),
            })
            .collect(),
        dry_run: false,
    };
    // The third chunk holds a foreign item, and what follows is not read.
    let chunks = [
        chunk(&["main", "main"], 0),
        chunk(&["main"], 2),
        chunk(&["main", "other", "main"], 3),
        chunk(&["main"], 6),
    ];
    let mut answers = consent.import(tokio_stream::iter(chunks)).await.unwrap().into_inner();
    let mut done = 0;
    let refused = loop {
        match answers.message().await {
            Ok(answer) => done = answer.unwrap().done,
            Err(status) => break status,
        }
    };
    assert_eq!((refused.code(), done), (Code::PermissionDenied, 3));
    assert!(refused.message().contains("items[1].brand"), "{refused}");
    assert_eq!(guarded.server.revision(), before + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn acts_and_reads_are_told_with_the_name_of_the_token() {
    let guarded = Guarded::start().await;
    let token = guarded.create("office", &["main"], &[ADMIN, FILTER]).await;
    let client = guarded.client(Some(&token)).await;
    let history = HistoryRequest {
        brand: "main".to_owned(),
        contact: Some(phone(KNOWN)),
        ..HistoryRequest::default()
    };
    client.consent_service().history(history).await.unwrap();
    client.filter_service().check(check("main", KNOWN)).await.unwrap();
    assert_eq!(guarded.rows("check"), [] as [Value; 0], "a verdict is no record");
    let with_record = CheckRequest { include_record: true, ..check("main", KNOWN) };
    client.filter_service().check(with_record).await.unwrap();
    let denied = client.admin_service().checkpoint(CheckpointRequest {}).await.unwrap_err();
    assert_eq!(reason(&denied), "BRAND_NOT_GRANTED");
    let mut admin = guarded.client(Some(&guarded.boss)).await.admin_service();
    admin.checkpoint(CheckpointRequest {}).await.unwrap();
    guarded.revoke("office").await;

    let token_of = |row: &Value, field: &str| row[field]["token"].as_str().unwrap().to_owned();
    assert_eq!(token_of(&guarded.rows("history")[0], "asked_by"), "office");
    let check = &guarded.rows("check")[0];
    assert_eq!(token_of(check, "asked_by"), "office");
    assert_eq!((&check["about"], &check["count"]), (&"90532***4567".into(), &1.into()));
    let outcomes = |event: &str| -> Vec<String> {
        let rows = guarded.rows(event).into_iter();
        rows.map(|row| format!("{} {}", row["outcome"], row["by"]["token"])).collect()
    };
    assert_eq!(outcomes("checkpoint"), ["\"begun\" \"boss\"", "\"done\" \"boss\""]);
    assert_eq!(outcomes("revoke_token"), ["\"begun\" \"boss\"", "\"done\" \"boss\""]);
    let created = guarded.rows("create_token");
    assert_eq!(created[0]["by"]["id"], "ayse");
    assert_eq!(created[0]["by"].get("token"), None, "the first was made without one");
    assert_eq!(created[3]["about"], "office: filter,admin for main");
    let text = fs::read_to_string(guarded.server.folder.path().join("audit.jsonl")).unwrap();
    assert!(!text.contains(token.expose()) && !text.contains(guarded.boss.expose()));
}
