//! The commands that read what was recorded: explain, history, watch, and the
//! times in a filter's suppressed rows.

use serde_json::Value;

use super::{SCOPE, Shell};

const ADDRESS: &str = "0 532 123 45 67";
const GRANTED: &str = "2024-02-01T10:00:00.000Z";
const STOPPED: &str = "2024-03-01T10:00:00.000Z";

/// A contact who said yes, and stopped a month later: revisions 2 and 3.
fn told() -> Shell {
    let shell = Shell::new();
    let granted = format!(
        "record {SCOPE} --type individual --granted --at {GRANTED} --source HS_WEB --notice-id form \
         --notice-version 7"
    );
    shell.run(&granted, &[ADDRESS], "");
    let stopped = format!("record --brand main --channel sms --withdrawn --at {STOPPED}");
    shell.run(&stopped, &[ADDRESS], "");
    shell
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn explain_tells_the_verdict_the_record_and_the_events_in_order() {
    let shell = told();
    let ran = shell.run(&format!("explain {SCOPE}"), &[ADDRESS], "");
    assert_eq!((ran.code, ran.err.as_str()), (5, ""));
    let out = lines(&ran.out);
    assert_eq!(out[0], "suppressed (CHANNEL_OPT_OUT) since 2024-03-01T10:00:00Z");
    assert!(out[1].contains("policy starter-1 (opt_in)"), "{}", out[1]);
    let stop = "WITHDRAWN everything on sms as individual and merchant, main";
    assert_eq!(out[2], format!("decided by #3: {stop}"));
    assert_eq!(out[4], "events, * decided:");
    assert!(out[5].starts_with("  ") && out[5].contains("#2  GRANTED sms/marketing"), "{}", out[5]);
    let details = "as of 2024-02-01T10:00:00Z, source HS_WEB, text form version 7";
    assert!(out[6].contains(details), "{}", out[6]);
    assert!(out[7].starts_with("* ") && out[7].ends_with(&format!("#3  {stop}")), "{}", out[7]);

    // As it was known before the stop was recorded.
    let before = shell.run(&format!("explain {SCOPE} --as-of 2"), &[ADDRESS], "").quietly();
    assert_eq!(lines(&before.out)[0], "permitted (PERMITTED) since 2024-02-01T10:00:00Z");
    let late = format!("explain {SCOPE} --as-of 2 --with-hindsight --json");
    let late = shell.run(&late, &[ADDRESS], "");
    assert_eq!((late.code, &late.json()["reason"]), (5, &"CHANNEL_OPT_OUT".into()));
    let json = late.json();
    assert_eq!((&json["deciding"]["revision"], &json["regime"]), (&3.into(), &"opt_in".into()));
    assert_eq!(json["records"].as_array().unwrap().len(), 2);

    // Before anything was recorded there was no policy to decide by.
    let never = shell.run(&format!("explain {SCOPE} --as-of 2001-01-01"), &[ADDRESS], "");
    assert_eq!((never.code, never.out.as_str()), (1, ""));
    assert!(never.err.contains("no policy was in force"), "{}", never.err);
    let words = format!("explain {SCOPE} --as-of yesterday");
    assert_eq!(shell.run(&words, &[ADDRESS], "").code, 2);
    let stranger = shell.run(&format!("explain {SCOPE}"), &["05321234500"], "");
    assert_eq!(stranger.code, 5);
    assert_eq!(lines(&stranger.out)[2..], ["no record decided", "no events"]);
}

#[test]
fn history_is_read_by_people_and_taken_along_with_every_field() {
    let shell = told();
    let text = shell.run("history", &[ADDRESS], "").quietly().out;
    assert_eq!(text.matches('#').count(), 2, "{text}");
    let json = shell.run("history --json --brand main", &[ADDRESS], "").quietly().json();
    let [granted, stopped] = json["records"].as_array().unwrap().as_slice() else {
        panic!("{json}")
    };
    for (name, value) in [
        ("event", "GRANTED"),
        ("contact_kind", "phone"),
        ("contact", "+905321234567"),
        ("recipient_type", "individual"),
        ("channel", "sms"),
        ("purpose", "marketing"),
        ("stated_time", "2024-02-01T10:00:00Z"),
        ("stated_precision", "millisecond"),
        ("source", "HS_WEB"),
        ("notice_id", "form"),
        ("notice_version", "7"),
    ] {
        assert_eq!(granted[name], value, "{name}");
    }
    assert_eq!(
        (&stopped["event"], &stopped["recipient_type"]),
        (&"WITHDRAWN".into(), &Value::Null)
    );

    let csv = shell.run("history --csv", &[ADDRESS], "").quietly().out;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let names = granted.as_object().unwrap().keys().map(String::as_str);
    let mut sorted: Vec<&str> = header.iter().collect();
    sorted.sort_unstable();
    let mut expected: Vec<&str> = names.collect();
    expected.sort_unstable();
    assert_eq!(sorted, expected, "CSV and JSON have the same fields");
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let column = |name: &str| header.iter().position(|each| each == name).unwrap();
    assert_eq!((rows.len(), &rows[0][column("contact")]), (2, "+905321234567"));
    assert_eq!(&rows[1][column("event")], "WITHDRAWN");

    let none = shell.run("history", &["05321234500"], "").quietly();
    assert_eq!(none.out, "no events\n");
    assert_eq!(shell.run("history", &["no number"], "").code, 1);
}

#[test]
fn watch_prints_a_line_an_event_and_where_to_go_on() {
    let shell = told();
    let ran = shell.run("watch --until-now", &[], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows: Vec<Value> =
        lines(&ran.out).into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = rows.iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["POLICY", "GRANTED", "WITHDRAWN"]);
    let hint = ran.err.trim().strip_prefix("sendgate: go on with --after ").unwrap();
    assert!(hint.ends_with(":3"), "{hint}");

    let again = shell.run("watch --until-now --after", &[hint], "");
    assert_eq!((again.code, again.out.as_str()), (0, ""));
    let last = shell.run("watch --until-now --after 2", &[], "");
    assert_eq!(lines(&last.out).len(), 1);
    let elsewhere = format!("{}:3", "0".repeat(32));
    let foreign = shell.run("watch --until-now --after", &[&elsewhere], "");
    assert_eq!((foreign.code, foreign.out.as_str()), (1, ""));
    assert!(foreign.err.contains("FAILED_PRECONDITION"), "{}", foreign.err);
}

#[test]
fn filter_says_since_when_rows_are_suppressed() {
    let shell = told();
    let list = shell.file("list.txt", "05321234567\n05321234500\nabc\n+90 532 123 45 67\n");
    let no = shell.path("no.csv");
    let more = [list.as_str(), "--suppressed", &no];
    shell.run(&format!("filter {SCOPE}"), &more, "").quietly();
    let since = "CHANNEL_OPT_OUT,2024-03-01T10:00:00Z";
    let expected = format!(
        "05321234567,{since}\n05321234500,NO_CONSENT,\nabc,INVALID_RECIPIENT,\n\
         +90 532 123 45 67,{since}\n"
    );
    assert_eq!(shell.read("no.csv"), expected);
    shell.run(&format!("filter {SCOPE} --no-since"), &more, "").quietly();
    assert_eq!(shell.read("no.csv"), expected.replace("2024-03-01T10:00:00Z", ""));
}

/// Batches are written in their order, whatever the ledger takes for each.
#[test]
fn a_long_list_keeps_its_order_with_times() {
    let shell = Shell::new();
    let numbers: Vec<String> = (0..60_000).map(|at| format!("90532{at:07}")).collect();
    let stopped: String = numbers.iter().step_by(2).map(|number| format!("{number}\n")).collect();
    let plain = shell.file("stopped.txt", &stopped);
    let words = "import --brand main --channel sms --format plain --status withdrawn";
    let ran = shell.run(words, &[&plain], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let list = shell.file("list.txt", &(numbers.join("\n") + "\n"));
    let no = shell.path("no.csv");
    let more = [list.as_str(), "--suppressed", &no];
    shell.run(&format!("filter {SCOPE}"), &more, "").quietly();
    let text = shell.read("no.csv");
    assert_eq!(text.lines().count(), numbers.len());
    for (at, (line, number)) in text.lines().zip(&numbers).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields[0], number);
        let (reason, is_known) =
            if at % 2 == 0 { ("CHANNEL_OPT_OUT", true) } else { ("NO_CONSENT", false) };
        assert_eq!((fields[1], !fields[2].is_empty()), (reason, is_known), "{line}");
    }
}
