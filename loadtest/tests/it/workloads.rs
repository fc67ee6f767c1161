//! Each workload, shortly.

use std::fs;

use crate::support::{POPULATION, report, run, sendgate, server, value};

/// Short, and little data.
const SHORT: [&str; 6] = ["--population", POPULATION, "--warm-up", "0", "--seconds", "0.3"];

fn arguments<'a>(endpoint: &'a str, own: &[&'a str]) -> Vec<&'a str> {
    [own, &["--endpoint", endpoint], &SHORT].concat()
}

#[tokio::test]
async fn every_column_is_filtered_and_every_verdict_checked() {
    let (server, folder) = server().await;
    let page = folder.path().join("report.html");
    for column in ["phones", "contact-ids", "emails", "phone-lines", "roaring"] {
        for order in ["random", "sorted"] {
            let own = [
                "filter",
                "--column",
                column,
                "--order",
                order,
                "--scopes",
                "2",
                "--reasons",
                "--refused",
                "mixed",
                "--batch-size",
                "2000",
                "--distinct-mib",
                "1",
                "--html",
                page.to_str().unwrap(),
            ];
            let report = report(&arguments(server.endpoint(), &own));
            assert!(value(&report, "recipients/s") > 0.0, "{column} {order}");
            let permitted = value(&report, "share permitted in the first scope");
            assert!((0.4..0.6).contains(&permitted), "{column}: {permitted}");
        }
    }
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("</html>"));
}

#[tokio::test]
async fn so_many_batches_are_counted() {
    let (server, _folder) = server().await;
    let own = [
        "filter",
        "--batches",
        "20",
        "--batch-size",
        "100",
        "--distinct-mib",
        "1",
        "--warm-up",
        "0",
        "--population",
        POPULATION,
        "--endpoint",
        server.endpoint(),
    ];
    let report = report(&own);
    assert!((value(&report, "recipients") - 2000.0).abs() < 1e-9);
}

#[tokio::test]
async fn single_calls_are_checked_in_both_loops() {
    let (server, _folder) = server().await;
    let closed = ["check", "--in-flight", "3", "--refused", "suppressed"];
    assert!(value(&report(&arguments(server.endpoint(), &closed)), "calls/s") > 0.0);
    let open = ["check", "--rate", "100", "--refused", "suppressed"];
    let report = report(&arguments(server.endpoint(), &open));
    // Each call due in the window counts, however slow the machine is.
    let calls = value(&report, "calls, all answered rightly");
    assert!((calls - 30.0).abs() <= 1.0, "{calls}");
}

#[tokio::test]
async fn changes_are_recorded_and_found_to_hold() {
    let (server, _folder) = server().await;
    for change in ["withdrawals", "grants"] {
        let own = ["record", "--change", change, "--people", "1000", "--in-flight", "4"];
        let report = report(&arguments(server.endpoint(), &own));
        assert!(value(&report, "durable changes/s") > 0.0);
    }
    let own = ["import", "--events", "5000", "--chunk", "1000", "--endpoint", server.endpoint()];
    assert!((value(&report(&own), "applied") - 5000.0).abs() < 1e-9);
}

#[tokio::test]
async fn withdrawals_are_honoured_while_filters_run() {
    let (server, _folder) = server().await;
    for level in [&["--slice", "0.1"][..], &["--contact-level", "--scopes", "3"]] {
        let own =
            [&["mixed", "--rate", "100", "--distinct-mib", "1", "--batch-size", "500"], level];
        let report = report(&arguments(server.endpoint(), &own.concat()));
        assert!(value(&report, "withdrawals, all found to hold") > 10.0);
    }
}

#[tokio::test]
async fn restarts_and_growth_have_servers_of_their_own() {
    let server = sendgate();
    let server = ["--server", server.to_str().unwrap()];
    let restart = ["restart", "--population", POPULATION, "--times", "1", "--changes", "50"];
    let restarted = report(&[&restart[..], &server].concat());
    let rows = restarted["tables"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["to the first right answer"].as_f64().unwrap() > 0.0));

    let scale = [
        "scale",
        "--sizes",
        "1000,3000",
        "--seconds",
        "0.2",
        "--warm-up",
        "0",
        "--distinct-mib",
        "1",
    ];
    let grown = report(&[&scale[..], &server].concat());
    let rows = grown["tables"][0]["rows"].as_array().unwrap();
    assert_eq!(rows[1]["contacts"], 3000.0);
    assert!(rows.iter().all(|row| row["recipients/s sorted"].as_f64().unwrap() > 0.0));
    let output = run(&["scale", "--sizes", "3000,1000"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ascend"));
}
