//! Suppressions, rights and counts from the command line.

use serde_json::Value;

use crate::cli::{Ran, Shell};

const ADDRESS: &str = "0532 123 45 67";
const SMS: &str = "--channel sms --purpose marketing";

impl Shell {
    /// The verdict of a brand on [`ADDRESS`]; `scope` names channel and purpose.
    fn verdict(&self, brand: &str, scope: &str) -> String {
        let ran = self.run(&format!("check --json --brand {brand} {scope}"), &[ADDRESS], "");
        ran.json()["reason"].as_str().unwrap().to_owned()
    }

    /// Runs a command about [`ADDRESS`] and returns its outcome.
    fn tell(&self, words: &str) -> Ran {
        self.run(&format!("{words} --json"), &[ADDRESS], "")
    }

    /// As [`tell`](Self::tell), of what must be applied.
    fn apply(&self, words: &str) {
        assert_eq!(self.tell(words).quietly().json()["outcome"], "APPLIED", "{words}");
    }
}

/// A server with a second brand, and a permitted contact in both.
fn shell() -> Shell {
    let shell = Shell::new();
    let toml = shell.run("policy show", &[], "").out.replace("starter-1", "two");
    let words = "policy apply --permits-unknown -";
    assert_eq!(shell.run(words, &[], &format!("{toml}\n[brands.other]\n")).code, 0);
    for brand in ["main", "other"] {
        for channel in ["sms", "call"] {
            let words = format!("record --brand {brand} --channel {channel} --purpose marketing");
            shell.apply(&format!("{words} --type individual --granted --at 2024-02-01"));
        }
        assert_eq!(shell.verdict(brand, SMS), "PERMITTED");
    }
    shell
}

#[test]
fn an_entry_suppresses_its_channel_its_brand_or_all_brands() {
    let shell = shell();
    let call = "--channel call --purpose marketing";
    shell.apply("suppress --brand main --channel sms --reason hard-bounce");
    assert_eq!(shell.verdict("main", SMS), "HARD_BOUNCE");
    assert_eq!((shell.verdict("main", call), shell.verdict("other", SMS)), permitted());
    shell.apply("suppress --brand main --reason manual_block");
    assert_eq!(shell.verdict("main", call), "MANUAL_BLOCK");
    assert_eq!(shell.verdict("other", SMS), "PERMITTED");
    shell.apply("suppress --brand * --reason legal-block");
    assert_eq!(shell.verdict("main", SMS), "LEGAL_BLOCK");
    assert_eq!(shell.verdict("other", call), "LEGAL_BLOCK");

    // A lift names exactly one entry: the one of all brands, and no other.
    shell.apply("lift --brand main --reason legal-block --actor-role staff");
    assert_eq!(shell.verdict("main", SMS), "LEGAL_BLOCK");
    shell.apply("lift --brand * --reason legal-block --actor-role staff --actor-id ayla");
    assert_eq!(shell.verdict("other", SMS), "PERMITTED");
    assert_eq!(shell.verdict("main", call), "MANUAL_BLOCK");
    shell.apply("lift --brand main --reason manual-block --actor-role staff");
    shell.apply("lift --brand main --channel sms --reason hard-bounce --actor-role system");
    assert_eq!((shell.verdict("main", SMS), shell.verdict("main", call)), permitted());
}

fn permitted() -> (String, String) {
    ("PERMITTED".to_owned(), "PERMITTED".to_owned())
}

#[test]
fn whoever_may_not_lift_is_told_so() {
    let shell = shell();
    shell.apply("suppress --brand main --reason manual-block --note fraud");
    for role in ["", "--actor-role customer", "--actor-role system", "--actor-role registry"] {
        let ran = shell.tell(&format!("lift --brand main --reason manual-block {role}"));
        assert_eq!((ran.code, &ran.json()["rejection"]["code"]), (4, &"NOT_ALLOWED".into()));
        assert!(ran.json()["rejection"]["message"].as_str().is_some_and(|it| !it.is_empty()));
        assert_eq!(shell.verdict("main", SMS), "MANUAL_BLOCK", "{role}");
    }
    let ran = shell.run("lift --brand main --reason manual-block", &[ADDRESS], "");
    assert_eq!(ran.code, 4);
    assert!(ran.out.starts_with("REJECTED, NOT_ALLOWED: "), "{}", ran.out);
    // What is no entry is not even sent.
    for words in ["suppress --brand main --reason no-consent", "lift --brand main"] {
        assert_eq!(shell.tell(words).code, 2, "{words}");
    }
}

#[test]
fn an_entry_ends_when_it_expires_or_is_lifted_later() {
    let shell = shell();
    shell.apply(
        "suppress --brand main --reason spam-complaint --since 2025-01-01 --expires-at 2025-02-01",
    );
    assert_eq!(shell.verdict("main", SMS), "PERMITTED", "it is over");
    shell.apply("suppress --brand main --reason soft-bounce --expires-at 2290-01-01");
    assert_eq!(shell.verdict("main", SMS), "SOFT_BOUNCE");
    let endless = shell.tell("suppress --brand main --reason soft-bounce");
    assert_eq!((endless.code, &endless.json()["rejection"]["field"]), (4, &"expires_at_ms".into()));

    shell.apply("suppress --brand other --reason hard-bounce --since 2025-03-01T12:00:00Z");
    let lift = "lift --brand other --reason hard-bounce --actor-role system";
    // A lift of before the entry leaves it; one of now ends it.
    assert_eq!(shell.tell(&format!("{lift} --time 2025-02-01")).code, 0);
    assert_eq!(shell.verdict("other", SMS), "HARD_BOUNCE");
    shell.apply(lift);
    assert_eq!(shell.verdict("other", SMS), "PERMITTED");
}

#[test]
fn processing_is_restricted_and_objected_to_and_staff_end_both() {
    let shell = shell();
    let exempt = "--channel sms --purpose transactional";
    shell.apply("object --brand main");
    assert_eq!(shell.verdict("main", SMS), "OBJECTED");
    assert_eq!(shell.verdict("main", exempt), "PERMITTED", "consent is not asked there");
    shell.apply("restrict --brand main");
    assert_eq!(shell.verdict("main", SMS), "RESTRICTED");
    assert_eq!(shell.verdict("main", exempt), "RESTRICTED");
    let record = shell.run(&format!("check --brand main {SMS} --record --json"), &[ADDRESS], "");
    assert_eq!(record.json()["record"]["event"]["event"], "RESTRICTED");
    shell.apply("restrict --brand main --lift");
    assert_eq!(shell.verdict("main", SMS), "OBJECTED");
    let own = shell.tell("object --brand main --lift --actor-role customer");
    assert_eq!((own.code, &own.json()["rejection"]["code"]), (4, &"NOT_ALLOWED".into()));
    shell.apply("object --brand main --lift");
    assert_eq!(shell.verdict("main", SMS), "PERMITTED");
}

#[test]
fn contacts_are_counted_across_scopes_and_by_scope() {
    let shell = shell();
    let grant = |address: &str, kind: &str, channel: &str, purpose: &str| {
        let words = format!(
            "record --brand main --kind {kind} --channel {channel} --purpose {purpose} \
             --type individual --granted --at 2024-02-01"
        );
        shell.run(&words, &[address], "").quietly();
    };
    for id in ["1", "2", "3", "18446744073709551615"] {
        grant(id, "contact_id", "push", "newsletter");
    }
    grant("2", "contact_id", "push", "marketing");
    shell.run("record --brand main --kind contact_id --withdrawn 3", &[], "").quietly();

    let count = |words: &str| {
        let words = format!("reach --brand main --kind contact_id --json {words}");
        shell.run(&words, &[], "").quietly().json()
    };
    assert_eq!(count("--permitted push/newsletter")["contacts"], 3);
    let both = "--permitted push/newsletter --permitted push/marketing";
    assert_eq!(count(both)["contacts"], 1);
    let not_both = "--permitted push/newsletter --suppressed push/marketing";
    assert_eq!(count(not_both)["contacts"], 2);
    assert_eq!(count("--suppressed push/marketing/merchant")["contacts"], 1);
    let unknown = count("--permitted push/transactional");
    assert_eq!((&unknown["contacts"], &unknown["unbounded"]), (&Value::Null, &true.into()));
    let text =
        shell.run("reach --brand main --kind contact_id --permitted push/newsletter", &[], "");
    assert!(text.quietly().out.starts_with("3 contacts\n"));

    // Without a question: every scope in which somebody is known.
    let table = count("");
    let row = |scope: &str| {
        let rows = table.as_array().unwrap();
        let row = rows.iter().find(|row| row["scope"] == scope).unwrap();
        (row["permitted"].clone(), row["suppressed"].clone())
    };
    assert_eq!(row("individual/push/newsletter"), (3.into(), 1.into()));
    assert_eq!(row("individual/push/marketing"), (1.into(), 1.into()));
    assert_eq!(row("merchant/push/marketing"), (Value::Null, 1.into()));
    let stats = shell.run("stats", &[], "").quietly().out;
    let line = stats.lines().find(|line| line.contains("individual/push/newsletter")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3..7], ["3", "permitted", "1", "suppressed"]);
    let planes = shell.run("stats --planes", &[], "").quietly().out;
    assert!(planes.contains("individual/push/newsletter contact_id, permitted: 3 contacts"));
    assert!(planes.contains("main all scopes contact_id, "), "{planes}");

    let missing = shell.run("reach --brand main --permitted sms/marketting", &[], "");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    let wrong = shell.run("reach --brand main --kind email --permitted sms/marketing", &[], "");
    assert!(wrong.code == 1 && wrong.err.contains("contact_kind"), "{}", wrong.err);
}
