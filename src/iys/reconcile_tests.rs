//! Whether differences are found, between a made-up file and made-up events.

use super::{
    canonical::{CanonicalRow, sha384},
    reconcile::{Day, Difference, LedgerSide, differences},
    time,
};
use crate::{
    formats::{DailyRow, IysMapping},
    proto::v1::{
        ConsentEvent, ConsentStatus, Contact, ContactKind, LedgerRecord, Precision, RecipientType,
        StatedTime, ledger_record::Event,
    },
};

const POLICY: &str = include_str!("../domain/policy/starter.toml");

/// Three records of one day: two statuses in one second under one ID, and an
/// old consent that a sender reported.
const ROWS: [&str; 3] = [
    "2025-06-17 10:00:00,k1,+905321234567,BIREYSEL,MESAJ,ONAY,2025-06-17 10:00:00,IYS_WEB",
    "2025-06-17 10:00:00,k1,+905321234567,BIREYSEL,MESAJ,RET,2025-06-17 10:00:00,IYS_WEB",
    "2025-06-17 23:59:59,k2,ornek@mail.com,TACIR,EPOSTA,ONAY,2017-06-28 19:39:28,HS_WEB",
];

fn mapping() -> IysMapping {
    IysMapping::from_policy(POLICY, "main").unwrap()
}

fn day(lines: &[&str]) -> Day {
    let mut day = Day::default();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let [creation_date, transaction_id, recipient, recipient_type, iys_type, ..] = fields[..]
        else {
            panic!("{line}")
        };
        let [status, consent_date, source] = fields[5..] else { panic!("{line}") };
        let row = DailyRow {
            creation_date,
            transaction_id,
            recipient,
            recipient_type,
            iys_type,
            status,
            consent_date,
            source,
        };
        day.take(&row).unwrap();
    }
    day.sort();
    day
}

/// The events that the import makes of a line: one for each channel.
fn events(line: &str) -> Vec<LedgerRecord> {
    let fields: Vec<&str> = line.split(',').collect();
    let (kind, channels): (_, &[&str]) = match fields[4] {
        "EPOSTA" => (ContactKind::Email, &["email"]),
        "ARAMA" => (ContactKind::Phone, &["call"]),
        _ => (ContactKind::Phone, &["mms", "rcs", "sms"]),
    };
    let granted = fields[5] == "ONAY";
    let date = if fields[6].is_empty() { fields[0] } else { fields[6] };
    let consent_time = time::parse(date)
        .map(|unix_ms| StatedTime { unix_ms, precision: Precision::Second.into() });
    let event = |channel: &&str| ConsentEvent {
        brand: "main".to_owned(),
        contact: Some(Contact {
            kind: kind.into(),
            address: fields[2].to_owned(),
            default_region: String::new(),
        }),
        recipient_type: match fields[3] {
            "TACIR" => RecipientType::Merchant,
            _ => RecipientType::Individual,
        }
        .into(),
        channel: (*channel).to_owned(),
        purpose: if granted { "marketing" } else { "*" }.to_owned(),
        status: if granted { ConsentStatus::Granted } else { ConsentStatus::Withdrawn }.into(),
        consent_time,
        source: fields[7].to_owned(),
        event_key: fields[1].to_owned(),
        registered_with: "iys".to_owned(),
        ..Default::default()
    };
    let record = |event| LedgerRecord { event: Some(Event::Consent(event)), ..Default::default() };
    channels.iter().map(event).map(record).collect()
}

/// The differences, and whether the digests are equal.
fn compared(file: &[&str], ledger: &[&str], whole: bool) -> (Vec<Difference>, bool) {
    let (mapping, day) = (mapping(), day(file));
    let mut side = LedgerSide::new("main", &mapping, &day, whole);
    let events = ledger.iter().rev().flat_map(|line| events(line));
    events.for_each(|record| side.take(&record).unwrap());
    let ledger = side.into_rows();
    let equal = sha384(day.rows()).unwrap() == sha384(&ledger).unwrap();
    (differences(day.rows(), &ledger), equal)
}

#[test]
fn what_was_imported_is_equal_whatever_the_order() {
    let mut lines = ROWS.to_vec();
    assert_eq!(compared(&lines, &ROWS, false), (vec![], true));
    lines.reverse();
    lines.push(ROWS[1]);
    assert_eq!(compared(&lines, &ROWS, true), (vec![], true));
    assert_eq!(day(&lines).repeated(), 1);
    assert_eq!(compared(&[], &[], false), (vec![], true));
}

#[test]
fn a_consent_date_that_is_empty_is_that_of_the_creation() {
    let line = "2025-06-17 10:00:00,k3,+905321234568,TACIR,ARAMA,RET,,IYS_AHS_HAT_KAPATMA";
    assert_eq!(compared(&[line], &[line], false), (vec![], true));
}

#[test]
fn what_the_ledger_lacks_is_named() {
    let (found, equal) = compared(&ROWS, &[ROWS[0], ROWS[2]], false);
    assert!(!equal);
    let [Difference::NotInLedger(row)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((row.transaction_id.as_str(), row.status.as_str()), ("k1", "RET"));
}

#[test]
fn what_the_file_lacks_is_named_where_the_ledger_knows_its_day() {
    let of_the_day =
        "2025-06-17 12:00:00,k4,+905321234569,BIREYSEL,ARAMA,RET,2025-06-17 12:00:00,IYS_CM";
    let other_day = of_the_day.replace("06-17", "06-16");
    let reported = of_the_day.replace("IYS_CM", "HS_WEB");
    let (found, equal) = compared(&ROWS, &[&ROWS[..], &[of_the_day]].concat(), false);
    assert!(!equal);
    let [Difference::NotInFile(row)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((row.transaction_id.as_str(), row.creation_date.as_str()), ("k4", ""));
    for line in [&other_day, &reported] {
        let ledger = [&ROWS[..], &[line]].concat();
        assert_eq!(compared(&ROWS, &ledger, false), (vec![], true), "{line}");
        assert_eq!(compared(&ROWS, &ledger, true).0.len(), 1, "{line}");
    }
}

#[test]
fn what_differs_is_named_by_field() {
    let changes = [
        ("2025-06-17 10:00:00,IYS", "2025-06-17 10:00:01,IYS", "consentDate"),
        ("IYS_WEB", "IYS_MOBIL", "source"),
        ("BIREYSEL", "TACIR", "recipientType"),
        ("+905321234567", "+905321234560", "recipient"),
        ("MESAJ", "ARAMA", "type"),
    ];
    for (from, to, field) in changes {
        let changed = ROWS[1].replace(from, to);
        assert_ne!(changed, ROWS[1], "{field}");
        let (found, equal) = compared(&ROWS, &[ROWS[0], &changed, ROWS[2]], false);
        let [Difference::Fields { file, ledger }] = found.as_slice() else { panic!("{found:?}") };
        let differing: Vec<&str> = file
            .kept()
            .iter()
            .zip(ledger.kept())
            .filter(|(one, other)| **one != *other)
            .map(|(one, _)| one.0)
            .collect();
        assert_eq!((differing, equal), (vec![field], false));
    }
}

#[test]
fn of_two_statuses_under_one_id_each_is_compared_with_its_own() {
    let changed = ROWS[1].replace("IYS_WEB", "IYS_CM");
    let (found, _) = compared(&ROWS[..2], &[&changed], false);
    let [Difference::NotInLedger(lacking), Difference::Fields { file, ledger }] = found.as_slice()
    else {
        panic!("{found:?}")
    };
    assert_eq!(lacking.status, "ONAY");
    assert_eq!([&file.source, &ledger.source], ["IYS_WEB", "IYS_CM"]);
}

#[test]
fn what_did_not_come_from_the_registry_is_no_part_of_it() {
    let mut own = events(ROWS[2]).remove(0);
    let Some(Event::Consent(event)) = &mut own.event else { panic!() };
    event.registered_with.clear();
    let (mapping, day) = (mapping(), day(&[]));
    let mut side = LedgerSide::new("main", &mapping, &day, true);
    side.take(&own).unwrap();
    assert_eq!(side.into_rows(), []);
}

#[test]
fn the_digest_is_of_the_bytes_that_the_documentation_names() {
    let row = CanonicalRow {
        creation_date: "2025-06-17 10:00:00".to_owned(),
        transaction_id: "k1".to_owned(),
        recipient: "+905321234567".to_owned(),
        recipient_type: "BIREYSEL".to_owned(),
        iys_type: "MESAJ".to_owned(),
        status: "ONAY".to_owned(),
        consent_date: "2025-06-17 10:00:00".to_owned(),
        source: "IYS_WEB".to_owned(),
    };
    // printf '%s\n' 'the first of ROWS' | sha384sum
    assert_eq!(sha384(&[row]).unwrap(), FIRST_ROW_SHA384);
    // sha384sum < /dev/null
    assert!(sha384(&[]).unwrap().starts_with("38b060a751ac96384cd9327eb1b1e36a"));
}

const FIRST_ROW_SHA384: &str = "c84d78264273fc78cdf5a2084b395d432cd8484856d9952cee3138d048b1fecaafca6ab9204e767b18eed0078a37a8ef";

#[test]
fn rows_are_read_as_the_import_reads_them() {
    let read = |line: &str| day(&[line]).rows()[0].clone();
    let row = read("2025-06-17 10:00:00,k1,5321234567,,mesaj,ret,2025-06-17 10:00:60,IYS_WEB");
    assert_eq!(
        (row.recipient.as_str(), row.recipient_type.as_str()),
        ("+905321234567", "BIREYSEL")
    );
    assert_eq!((row.iys_type.as_str(), row.status.as_str()), ("MESAJ", "RET"));
    assert_eq!(read("d,k,5321234567,KAMU,MESAJ,RET,,IYS_WEB").recipient_type, "*");
    let nobody = read("d,k,nobody,KAMU,MESAJ,ONAY,,IYS_WEB");
    assert_eq!((nobody.recipient.as_str(), nobody.recipient_type.as_str()), ("nobody", "KAMU"));
}
