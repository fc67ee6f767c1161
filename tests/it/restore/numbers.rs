//! Brands and channels have numbers of their own in every store, and the marks
//! of erasures know them by these.

use std::fs;

use sendgate::proto::v1::{
    AnswerForm, ApplyPolicyRequest, ConsentEvent, ContactKind, Reason, Suppression,
};

use super::{
    feed,
    marks::{ERASED, LATER, suppress},
    story::{self, policy, record, revision},
};
use crate::{
    backup::{back_up, command, restored, text},
    support::{Asking, TestServer, grant, lines, options, phone, reasons, verified},
};

/// The starter policy under another version, with more channels and brands.
fn with(toml: &str, version: &str, tables: &[&str]) -> String {
    let tables: Vec<String> = tables
        .iter()
        .map(|name| match name.split_once('.') {
            Some(("channels", _)) => format!("\n[{name}]\nkinds = [\"phone\"]\n"),
            _ => format!("\n[{name}]\n"),
        })
        .collect();
    toml.replace("starter-1", version) + &tables.concat()
}

async fn apply(server: &TestServer, toml: String) {
    let request =
        ApplyPolicyRequest { toml, permits_unknown: true, ..ApplyPolicyRequest::default() };
    server.admin().apply_policy(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_the_original_are_translated_or_refused() {
    let original = TestServer::start().await;
    let starter = policy(&original).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    let from = revision(&original).await;
    back_up(&original, &backup).await;
    let both = ["channels.fax", "channels.pager", "brands.second", "brands.third"];
    apply(&original, with(&starter, "one", &both[..1])).await;
    apply(&original, with(&starter, "two", &[both[0], both[1], both[2]])).await;
    apply(&original, with(&starter, "three", &both)).await;
    let blocked = "+905331000001";
    let block = |brand: &str| Suppression {
        brand: brand.to_owned(),
        contact: Some(phone(blocked)),
        channel: "pager".to_owned(),
        reason: Reason::LegalBlock.into(),
        ..Suppression::default()
    };
    suppress(&original, vec![block("main"), block("third")]).await;
    original.set_clock(ERASED);
    story::erase(&original, "main", phone(blocked)).await;
    story::erase(&original, "third", phone(blocked)).await;
    let file = place.path().join("feed");
    feed(&original, &from, &file).await;
    let import = async |server: &TestServer| {
        let rejects = place.path().join("rejects.csv");
        drop(fs::remove_file(&rejects));
        let words = ["import", text(&file), "--json", "--rejects", text(&rejects)];
        command(server, &words).await;
        fs::read_to_string(rejects).unwrap_or_default().replace("\"\"", "\"")
    };

    // In another order: pager before fax, third before second.
    let copy = TestServer::open(restored(&backup)).await;
    copy.set_clock(ERASED);
    let missing = import(&copy).await;
    assert!(missing.contains("channel \"pager\" was never declared here"), "{missing}");
    assert!(missing.contains("third"), "{missing}");
    apply(&copy, with(&starter, "two", &[both[1], both[3]])).await;
    apply(&copy, with(&starter, "three", &both)).await;
    apply(&copy, with(&starter, "one", &both)).await;
    let refused = import(&copy).await;
    assert_eq!(
        refused.matches("brand \"third\" has number 2 here and had 3").count(),
        1,
        "{refused}"
    );
    assert_eq!(refused.lines().count(), 2, "a head and a row: {refused}");
    command(&copy, &["restore", "accept", "--replayed-to", "900"]).await;
    copy.set_clock(LATER);
    for server in [&original, &copy] {
        server.set_clock(LATER);
        for channel in ["pager", "fax"] {
            let consent = ConsentEvent { channel: channel.to_owned(), ..grant(blocked, LATER) };
            record(server, vec![consent]).await;
            let mut asking =
                Asking::open(server, options(ContactKind::Phone, channel, AnswerForm::Reasons))
                    .await;
            let found = reasons(&asking.ask(lines(1, &[blocked])).await);
            let expected = if channel == "pager" { Reason::LegalBlock } else { Reason::Permitted };
            assert_eq!(found, [expected], "{channel}");
        }
    }
    verified(copy).await;

    // In the same order nothing is refused.
    let copy = TestServer::open(restored(&backup)).await;
    copy.set_clock(ERASED);
    apply(&copy, with(&starter, "one", &both[..3])).await;
    apply(&copy, with(&starter, "two", &both)).await;
    apply(&copy, with(&starter, "three", &both)).await;
    let refused = import(&copy).await;
    assert!(refused.lines().count() <= 1, "{refused}");
    verified(copy).await;
}
