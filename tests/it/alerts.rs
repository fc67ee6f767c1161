//! The dashboard, the alert rules and what the documentation says of both: they
//! use the names that the server serves, and each name is put to use.

use std::{collections::BTreeSet, fs, path::Path};

use sendgate::metrics::{Kind, names};

use crate::metrics::promtool;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The metrics that a text uses; a series of a histogram stands for all of it.
fn used(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metric = |word| {
        let histograms = names::ALL.iter().filter(|metric| metric.kind == Kind::Histogram);
        let is_series = |name: &str| {
            ["_bucket", "_sum", "_count"].iter().any(|it| word == format!("{name}{it}"))
        };
        let of = histograms.map(|metric| metric.name).find(|name| is_series(name));
        of.unwrap_or(word)
    };
    words.filter(|word| word.starts_with("sendgate_")).map(metric).collect()
}

fn names() -> BTreeSet<&'static str> {
    names::ALL.iter().map(|metric| metric.name).collect()
}

#[test]
fn dashboard_and_rules_use_every_name_and_no_other() {
    let dashboard = read("deploy/grafana/sendgate.json");
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = parsed["panels"].as_array().unwrap();
    assert!(panels.len() > 20, "the panels were not found");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert!(!used(query).is_empty(), "{}: {query}", panel["title"]);
        }
    }
    let (rules, tests) =
        (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml"));
    let known = names();
    for (file, text) in [("dashboard", &dashboard), ("rules", &rules), ("tests", &tests)] {
        let unknown: Vec<_> = used(text).difference(&known).copied().collect();
        assert!(unknown.is_empty(), "the {file} uses names that nobody serves: {unknown:?}");
    }
    let all = &used(&dashboard) | &used(&rules);
    let idle: Vec<_> = known.difference(&all).collect();
    assert!(idle.is_empty(), "neither drawn nor watched: {idle:?}");
}

#[test]
fn the_documentation_has_a_row_for_each_name() {
    let manual = read("docs/operations.md");
    let rows = manual.lines().filter(|line| line.starts_with("| `sendgate_"));
    let expected = names::ALL.iter().map(|metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name, metric.kind.name());
        format!("| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help)
    });
    assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn each_alert_says_how_bad_it_is_and_where_to_read_what_to_do() {
    let (rules, manual) = (read("deploy/prometheus/alerts.yml"), read("docs/operations.md"));
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    let mut named = BTreeSet::new();
    for alert in &alerts {
        let name = alert.lines().next().unwrap();
        let has = |what: &str| alert.lines().any(|line| line.trim_start().starts_with(what));
        assert!(has("severity: critical") || has("severity: warning"), "{name}");
        assert!(has("summary: \"") && has("description: \""), "{name}");
        let runbook = format!("runbook_url: docs/operations.md#{}", name.to_lowercase());
        assert!(has(&runbook), "{name}");
        named.insert(name);
    }
    assert_eq!(named.len(), alerts.len());
    let headings = manual.lines().filter_map(|line| line.strip_prefix("### "));
    let explained: BTreeSet<&str> = headings.filter(|it| it.starts_with("Sendgate")).collect();
    assert_eq!(explained, named);
}

#[test]
fn promtool_takes_rules_tests_and_configuration() {
    let path = |file: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
        folder.join(file).to_str().unwrap().to_owned()
    };
    assert_eq!(promtool(&["check", "rules", &path("alerts.yml")], ""), "");
    assert_eq!(promtool(&["check", "config", &path("prometheus.yml")], ""), "");
    assert_eq!(promtool(&["test", "rules", &path("alerts_test.yml")], ""), "");
    // And a rule that watches something else is noticed.
    let folder = tempfile::tempdir().unwrap();
    let rules = read("deploy/prometheus/alerts.yml");
    let wrong = rules.replace("sendgate_ready == 0", "sendgate_ready == 1");
    assert_ne!(rules, wrong);
    fs::write(folder.path().join("alerts.yml"), wrong).unwrap();
    let tests = folder.path().join("alerts_test.yml");
    fs::copy(path("alerts_test.yml"), &tests).unwrap();
    assert_ne!(promtool(&["test", "rules", tests.to_str().unwrap()], ""), "");
}
