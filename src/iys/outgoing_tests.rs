//! Which rows go to the registry, from made-up events.

use super::outgoing::*;
use crate::{
    formats::IysMapping,
    proto::v1::{
        self, ConsentEvent, ConsentStatus, ContactKind, LedgerRecord, ledger_record::Event,
    },
};

const POLICY: &str = include_str!("../domain/policy/starter.toml");
const HOUR: i64 = 3_600_000;
/// 2025-06-17 10:00:00 in Turkey.
const START: i64 = 1_750_143_600_000;

fn contact(address: &str) -> Option<v1::Contact> {
    let kind = match address {
        email if email.contains('@') => ContactKind::Email,
        phone if phone.starts_with('+') => ContactKind::Phone,
        _ => ContactKind::ContactId,
    };
    Some(v1::Contact { kind: kind.into(), address: address.to_owned(), ..Default::default() })
}

/// An event of this form: `grant sms marketing individual` at an hour.
fn event(words: &str, address: &str) -> ConsentEvent {
    let words: Vec<&str> = words.split(' ').collect();
    let [status, channel, purpose, recipient_type] = words[..] else { panic!("{words:?}") };
    ConsentEvent {
        brand: "main".to_owned(),
        contact: contact(address),
        status: match status {
            "grant" => ConsentStatus::Granted,
            _ => ConsentStatus::Withdrawn,
        }
        .into(),
        channel: channel.to_owned(),
        purpose: purpose.to_owned(),
        recipient_type: match recipient_type {
            "individual" => v1::RecipientType::Individual,
            "merchant" => v1::RecipientType::Merchant,
            _ => v1::RecipientType::Unspecified,
        }
        .into(),
        source: "HS_WEB".to_owned(),
        ..Default::default()
    }
}

fn record(revision: u64, hour: i64, event: ConsentEvent) -> LedgerRecord {
    LedgerRecord {
        revision,
        effective_time_ms: START + hour * HOUR,
        recorded_time_ms: START + 1_000 * HOUR,
        event: Some(Event::Consent(event)),
        ..Default::default()
    }
}

const PHONE: &str = "+905321234567";

/// What goes out, as `type recipient-type status date`, and the counts. The
/// order in which the events come in must not matter.
fn sent(records: &[LedgerRecord], both_types: bool) -> (Vec<String>, Counts) {
    let mapping = IysMapping::from_policy(POLICY, "main").unwrap();
    let rows = |records: &mut dyn Iterator<Item = &LedgerRecord>| {
        let mut window = Window::new("main", &mapping);
        records.for_each(|record| window.take(record).unwrap());
        window.rows(None, both_types).unwrap()
    };
    let (forward, counts) = rows(&mut records.iter());
    assert_eq!(rows(&mut records.iter().rev()), (forward.clone(), counts));
    let line = |row: &OutgoingRow| {
        let time = row.consent_date.get(11..).unwrap();
        format!("{} {} {} {time}", row.iys_type, row.recipient_type, row.status)
    };
    (forward.iter().map(line).collect(), counts)
}

fn lines(events: &[(i64, &str)]) -> Vec<String> {
    let numbered = events.iter().zip(1..);
    let records: Vec<_> = numbered
        .map(|((hour, words), revision)| record(revision, *hour, event(words, PHONE)))
        .collect();
    sent(&records, false).0
}

#[test]
fn several_channels_of_one_type_are_one_row() {
    let channels = ["sms", "mms", "rcs"];
    let grants = channels.map(|channel| format!("grant {channel} marketing individual"));
    let events: Vec<(i64, &str)> = grants.iter().map(|grant| (0, grant.as_str())).collect();
    assert_eq!(lines(&events), ["MESAJ BIREYSEL ONAY 10:00:00"]);
    let call = "grant call marketing individual";
    let both = lines(&[(0, &grants[0]), (1, call)]);
    assert_eq!(both, ["MESAJ BIREYSEL ONAY 10:00:00", "ARAMA BIREYSEL ONAY 11:00:00"]);
}

#[test]
fn only_the_last_state_goes_out_and_a_refusal_wins_a_tie() {
    let (grant, stop) = ("grant sms marketing individual", "stop rcs * individual");
    assert_eq!(lines(&[(0, grant), (1, stop)]), ["MESAJ BIREYSEL RET 11:00:00"]);
    assert_eq!(lines(&[(2, grant), (1, stop)]), ["MESAJ BIREYSEL ONAY 12:00:00"]);
    assert_eq!(lines(&[(1, grant), (1, stop)]), ["MESAJ BIREYSEL RET 11:00:00"]);
}

#[test]
fn refusals_of_one_purpose_and_unmapped_scopes_stay_here() {
    let stays = [
        "stop sms marketing individual",
        "grant sms newsletter individual",
        "grant whatsapp marketing individual",
        "stop push * individual",
        "grant email marketing individual",
    ];
    for words in stays {
        let (rows, counts) = sent(&[record(1, 0, event(words, PHONE))], false);
        assert_eq!(rows, [""; 0], "{words}");
        assert_eq!(counts.not_for_registry, 1, "{words}");
    }
    for address in ["+4791234567", "12345"] {
        let abroad = record(1, 0, event("stop * * individual", address));
        assert_eq!(sent(&[abroad], false).0, [""; 0], "{address}");
    }
    let mut other = event("stop * * individual", PHONE);
    other.brand = "other".to_owned();
    assert_eq!(sent(&[record(1, 0, other)], false), (vec![], Counts::default()));
}

#[test]
fn a_refusal_of_everything_goes_to_the_types_of_its_address() {
    let phone = lines(&[(0, "stop * * individual")]);
    assert_eq!(phone, ["ARAMA BIREYSEL RET 10:00:00", "MESAJ BIREYSEL RET 10:00:00"]);
    let email = record(1, 0, event("stop   individual", "ornek@mail.com"));
    assert_eq!(sent(&[email], false).0, ["EPOSTA BIREYSEL RET 10:00:00"]);
}

#[test]
fn a_refusal_without_a_type_goes_for_merchants_where_they_are_known() {
    let stop = record(2, 1, event("stop sms * any", PHONE));
    let (rows, counts) = sent(std::slice::from_ref(&stop), false);
    assert_eq!(rows, ["MESAJ BIREYSEL RET 11:00:00"]);
    assert_eq!(counts.individual_only, 1);
    let both = ["MESAJ BIREYSEL RET 11:00:00", "MESAJ TACIR RET 11:00:00"];
    let (rows, counts) = sent(std::slice::from_ref(&stop), true);
    assert_eq!(rows, both);
    assert_eq!(counts.individual_only, 0);
    let merchant = record(1, 0, event("grant sms marketing merchant", PHONE));
    assert_eq!(sent(&[merchant, stop.clone()], false).0, both);
    // A newer grant of the merchant's own re-opens it for the merchant only.
    let merchant = record(3, 2, event("grant sms marketing merchant", PHONE));
    let newer = ["MESAJ BIREYSEL RET 11:00:00", "MESAJ TACIR ONAY 12:00:00"];
    assert_eq!(sent(&[merchant, stop], false).0, newer);
}

#[test]
fn what_the_registry_said_is_not_sent_back_and_supersedes_what_is_older() {
    let mut by_key = event("stop sms * individual", PHONE);
    by_key.registered_with = "iys".to_owned();
    let mut by_source = event("stop sms * individual", PHONE);
    by_source.source = "IYS_KISAMESAJ".to_owned();
    for theirs in [by_key, by_source] {
        let theirs = record(2, 1, theirs);
        let ours = |hour| record(1, hour, event("grant sms marketing individual", PHONE));
        let (rows, counts) = sent(&[ours(0), theirs.clone()], false);
        assert_eq!((rows.len(), counts.events, counts.from_registry), (0, 2, 1));
        let newer = ["MESAJ BIREYSEL ONAY 12:00:00"];
        assert_eq!(sent(&[ours(2), theirs], false).0, newer);
    }
}

#[test]
fn a_source_that_the_registry_does_not_know_needs_another_one() {
    let mapping = IysMapping::from_policy(POLICY, "main").unwrap();
    let mut window = Window::new("main", &mapping);
    let mut web = event("grant sms marketing individual", PHONE);
    window.take(&record(1, 0, web.clone())).unwrap();
    web.source = "checkout page".to_owned();
    web.contact = contact("+905321234568");
    window.take(&record(2, 0, web)).unwrap();
    let without = window.rows(None, false).unwrap_err();
    assert_eq!(without.iter().map(|row| row.revision).collect::<Vec<_>>(), [2]);
    let (rows, _) = window.rows(Some("HS_MOBIL"), false).unwrap();
    let sources: Vec<&str> = rows.iter().map(|row| row.source.as_str()).collect();
    assert_eq!(sources, ["HS_WEB", "HS_MOBIL"]);
    let json = serde_json::to_string(&rows[0]).unwrap();
    let expected = r#"{"consentDate":"2025-06-17 10:00:00","source":"HS_WEB","recipient":"+905321234567","recipientType":"BIREYSEL","status":"ONAY","type":"MESAJ"}"#;
    assert_eq!(json, expected);
}
