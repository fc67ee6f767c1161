//! What the screen shows after which answers.

use super::*;
use crate::proto::v1::{DurationHistogram, Reason, ReasonCount, RestoredFrom, Revision};

const STARTED: i64 = 1_767_225_600_000;

/// A server that has been up for so many seconds and has done as much in each.
fn after(seconds: u64) -> GetStatisticsResponse {
    let verdict =
        |reason: Reason, a_second| ReasonCount { reason: reason.into(), count: a_second * seconds };
    GetStatisticsResponse {
        server_version: "0.1.0".to_owned(),
        revision: Some(Revision { epoch: "0".repeat(32), revision: 1_234_567 }),
        policy_version: "starter-1".to_owned(),
        as_of_ms: STARTED + 1_000 * i64::try_from(seconds).unwrap(),
        started_time_ms: STARTED,
        checkpoint_revision: 1_234_000,
        checkpoint_time_ms: STARTED,
        recipients_filtered: 54_300_000 * seconds,
        batches: 3_314 * seconds,
        recorded_changes: 997 * seconds,
        verdicts: vec![
            verdict(Reason::Permitted, 27_150_000),
            verdict(Reason::NoConsent, 20_000_000),
            verdict(Reason::ChannelOptOut, 7_150_000),
        ],
        batch_durations: Some(DurationHistogram {
            bounds_us: vec![100, 200, 400],
            counts: vec![2_000 * seconds, 1_300 * seconds, 14 * seconds, 0],
            count: 3_314 * seconds,
            sum_us: 300_000 * seconds,
        }),
        open_streams: 12,
        queued_writes: 3,
        queue_capacity: 65_536,
        resident_bytes: 1 << 30,
        ..GetStatisticsResponse::default()
    }
}

/// What is seen after a poll each second.
fn seen(polls: impl IntoIterator<Item = GetStatisticsResponse>) -> Seen {
    let begin = Instant::now();
    let mut samples = polls
        .into_iter()
        .enumerate()
        .map(|(at, statistics)| Sample { at: begin + Duration::from_secs(at as u64), statistics });
    let mut seen = Seen::first(samples.next().unwrap());
    samples.for_each(|sample| seen.learn(sample));
    seen
}

fn text(seen: &Seen, width: usize, height: usize) -> String {
    let lines = seen.lines("http://127.0.0.1:50051", Some("q quit   p pause"), width, height);
    lines.iter().map(|line| line.paint(usize::MAX, false) + "\n").collect()
}

/// The line that begins with this.
fn row<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"))
}

#[test]
fn everything_fits_the_usual_terminals() {
    let seen = seen((1..200).map(after));
    for (width, height) in [(80, 24), (120, 40)] {
        let text = text(&seen, width, height);
        assert!(text.lines().count() <= height, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        for due in [
            "sendgate 0.1.0  http://127.0.0.1:50051",
            "revision 1,234,567  policy starter-1",
            "up 3 minutes",
            "12 open streams",
            "3 of 65,536 changes",
            "1.00 GiB process",
            "567 revisions behind",
            "q quit",
        ] {
            assert!(text.contains(due), "{due}: {text}");
        }
        let recipients = row(&text, "recipients");
        assert!(recipients.contains("     54,300,000    10,805,700,000"), "{text}");
        assert!(recipients.ends_with("███"), "{text}");
        assert!(row(&text, "batch  ").contains("82.8 µs"), "{text}");
        assert!(row(&text, "commit").ends_with('-'), "{text}");
        assert!(row(&text, "PERMITTED").contains("27,150,000   50.0 %"), "{text}");
    }
}

#[test]
fn verdicts_that_have_no_room_are_counted() {
    let reasons = (1..=18).map(|reason| ReasonCount { reason, count: 100 - reason as u64 });
    let many = GetStatisticsResponse { verdicts: reasons.collect(), ..after(1) };
    let seen = seen([many.clone(), many]);
    let small = text(&seen, 80, 24);
    assert_eq!(small.lines().count(), 24, "{small}");
    assert!(small.contains("and 13 more"), "{small}");
    let large = text(&seen, 120, 40);
    assert!(!large.contains(" more") && large.contains("DUPLICATE"), "{large}");
    // A window of no use is no reason to fail.
    for (width, height) in [(0, 0), (1, 1), (30, 10), (79, 19)] {
        text(&seen, width, height);
    }
}

#[test]
fn a_restart_is_said_and_rates_begin_anew() {
    let mut seen = seen((100..110).map(after));
    let restarted = |seconds| GetStatisticsResponse {
        started_time_ms: STARTED + 120_000,
        as_of_ms: STARTED + 120_000 + 1_000 * i64::try_from(seconds).unwrap(),
        ..after(seconds)
    };
    let learn = |seen: &mut Seen, statistics| {
        let at = seen.last.at + Duration::from_secs(1);
        seen.learn(Sample { at, statistics });
    };
    assert!(!text(&seen, 80, 24).contains("restarted"));
    learn(&mut seen, restarted(2));
    let shown = text(&seen, 80, 24);
    assert!(shown.contains("the server restarted at 2026-01-01T00:02:00Z"), "{shown}");
    assert!(row(&shown, "recipients").contains("  -  "), "{shown}");
    assert!(!shown.contains('█'), "bars of before: {shown}");
    learn(&mut seen, restarted(3));
    let shown = text(&seen, 80, 24);
    assert!(row(&shown, "recipients").contains(" 54,300,000 "), "{shown}");
    assert!(shown.contains("restarted"), "{shown}");
    learn(&mut seen, restarted(61));
    assert!(!text(&seen, 80, 24).contains("restarted"), "a minute later");
}

#[test]
fn a_server_that_does_not_answer_has_no_rates() {
    let mut seen = seen((1..4).map(after));
    seen.lose(&Status::unavailable("gone").into());
    let shown = text(&seen, 120, 40);
    assert!(shown.contains("no answer, so this is the last: UNAVAILABLE: gone"), "{shown}");
    assert!(row(&shown, "recipients").contains("  -  "), "{shown}");
    // Back again, it is one and the same: the rate is the mean of the gap.
    let at = seen.last.at + Duration::from_secs(2);
    seen.learn(Sample { at, statistics: after(5) });
    let shown = text(&seen, 120, 40);
    assert!(row(&shown, "recipients").contains(" 54,300,000 "), "{shown}");
    assert!(!shown.contains("UNAVAILABLE"), "{shown}");
}

#[test]
fn what_must_be_known_stands_above_everything() {
    let undecided = GetStatisticsResponse { restored: Some(RestoredFrom::default()), ..after(9) };
    assert!(text(&seen([undecided]), 80, 24).contains("NOTHING IS FILTERED"));
    let damaged = GetStatisticsResponse { rebuilt_pages: 2, ..after(9) };
    assert!(text(&seen([damaged]), 80, 24).contains("2 pages were damaged in memory"));
}

#[test]
fn json_has_rates_only_where_there_are_some() {
    let mut seen = seen((1..3).map(after));
    let of = |seen: &Seen| report::json(&seen.last.statistics, seen.rates.as_ref());
    let json = of(&seen);
    assert_eq!(json["per_second"]["recipients"], 54_300_000.0);
    assert_eq!(json["per_second"]["verdicts"]["NO_CONSENT"], 20_000_000.0);
    assert_eq!(json["since_start"]["verdicts"]["PERMITTED"], 54_300_000);
    assert_eq!(json["latency_us"]["batch"]["count"], 3_314);
    assert_eq!(json["latency_us"]["commit"], serde_json::Value::Null);
    assert_eq!(json["interval_seconds"], 1.0);
    let at = seen.last.at + Duration::from_secs(1);
    seen.learn(Sample { at, statistics: after(1) });
    let json = of(&seen);
    assert_eq!(json["per_second"], serde_json::Value::Null);
    assert_eq!(json["since_start"]["batches"], 3_314);
}

#[test]
fn an_interval_is_a_part_of_a_second_or_some() {
    assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
    assert_eq!(seconds("3600"), Ok(Duration::from_secs(3_600)));
    for wrong in ["0", "0.09", "3601", "-1", "NaN", "inf", "fast", ""] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
}
