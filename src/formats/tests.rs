use std::io::Cursor;

use super::*;
use crate::proto::v1::{
    ActorRole, ConsentEvent, ConsentStatus, ContactKind, Precision, Reason, RecipientType,
    Suppression, import_item::Change,
};

pub(super) const POLICY: &str = r#"
    version = "t"
    channels.sms = { kinds = ["phone"], iys = "MESAJ" }
    channels.mms = { kinds = ["phone"], iys = "MESAJ" }
    channels.rcs = { kinds = ["phone"], iys = "MESAJ" }
    channels.call = { kinds = ["phone"], iys = "ARAMA" }
    channels.email = { kinds = ["email"], iys = "EPOSTA" }
    purposes.marketing = { individual = "opt_in", iys = true }
    brands.main = {}
"#;

const IYS_HEADER: &str =
    "creationDate,transactionId,recipient,recipientType,type,status,consentDate,source";

pub(super) fn defaults() -> Defaults {
    Defaults {
        brand: "main".to_owned(),
        kind: ContactKind::Phone,
        region: "TR".to_owned(),
        ..Default::default()
    }
}

pub(super) fn opened(bytes: &[u8]) -> Opened<Cursor<&[u8]>> {
    Opened::read(Cursor::new(bytes), "TR").unwrap()
}

fn read_with(bytes: &[u8], meaning: Meaning, defaults: Defaults) -> Vec<(u64, Changes)> {
    let mut reader = ItemReader::new(opened(bytes), meaning, defaults).unwrap();
    let rows = std::iter::from_fn(|| reader.next_row().unwrap());
    rows.map(|row| (row.line, row.changes)).collect()
}

fn iys(text: &str) -> Vec<(u64, Changes)> {
    let mapping = IysMapping::from_policy(POLICY, "main").unwrap();
    read_with(text.as_bytes(), Meaning::IysDaily(mapping), defaults())
}

fn iys_row(row: &str) -> Changes {
    iys(&format!("{IYS_HEADER}\n{row}\n")).remove(0).1
}

pub(super) fn consents(changes: &Changes) -> Vec<ConsentEvent> {
    let items = changes.as_ref().unwrap().iter();
    items
        .filter_map(|item| match item.change.clone().unwrap() {
            Change::Consent(event) => Some(event),
            _ => None,
        })
        .collect()
}

fn suppressions(changes: &Changes) -> Vec<Suppression> {
    let items = changes.as_ref().unwrap().iter();
    items
        .filter_map(|item| match item.change.clone().unwrap() {
            Change::Suppression(entry) => Some(entry),
            _ => None,
        })
        .collect()
}

fn problem_field(changes: &Changes) -> &str {
    &changes.as_ref().unwrap_err().field
}

#[test]
fn a_daily_onay_grants_each_mapped_purpose_on_each_channel() {
    let events = consents(&iys_row(
        "2020-07-19 23:58:53,abc,ornek@mail.com,BIREYSEL,EPOSTA,ONAY,2017-06-28 19:39:28,HS_WEB",
    ));
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.channel.as_str(), event.purpose.as_str()), ("email", "marketing"));
    assert_eq!(event.contact.as_ref().unwrap().kind(), ContactKind::Email);
    assert_eq!(event.recipient_type(), RecipientType::Individual);
    let time = event.consent_time.unwrap();
    assert_eq!((time.unix_ms, time.precision()), (1_498_667_968_000, Precision::Second));
    assert_eq!((event.event_key.as_str(), event.source.as_str()), ("abc", "HS_WEB"));
    assert_eq!(event.actor, None);
}

#[test]
fn a_daily_ret_withdraws_every_channel_of_its_type() {
    let changes = iys_row("2020-07-19 23:58:53,k,+905311333449,TACIR,MESAJ,RET,,IYS_KISAMESAJ");
    let events = consents(&changes);
    let channels: Vec<&str> = events.iter().map(|event| event.channel.as_str()).collect();
    assert_eq!(channels, ["mms", "rcs", "sms"]);
    for event in &events {
        assert_eq!((event.status(), event.purpose.as_str()), (ConsentStatus::Withdrawn, ""));
        assert_eq!(event.recipient_type(), RecipientType::Merchant);
        assert_eq!(event.consent_time.unwrap().unix_ms, 1_595_192_333_000, "creationDate");
        assert_eq!(event.actor.as_ref().unwrap().role(), ActorRole::Registry);
    }
    assert!(suppressions(&changes).is_empty());
}

#[test]
fn a_closed_line_is_also_suppressed_on_every_channel() {
    let changes = iys_row("2021-01-01 00:00:00,k,+905311333449,,ARAMA,RET,,IYS_AHS_HAT_KAPATMA");
    assert_eq!(consents(&changes).len(), 1);
    let entries = suppressions(&changes);
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].reason(), entries[0].channel.as_str()), (Reason::LineClosed, ""));
    assert_eq!(entries[0].since.unwrap().unix_ms, 1_609_448_400_000);
}

#[test]
fn a_daily_grant_that_is_not_certain_is_rejected_and_a_refusal_is_not() {
    let row = |kind: &str, status: &str, date: &str| {
        iys_row(&format!(",k,+905311333449,{kind},ARAMA,{status},{date},HS_WEB"))
    };
    assert_eq!(problem_field(&row("BIREYSEL", "ONAY", "")), "consentDate");
    assert_eq!(problem_field(&row("BIREYSEL", "ONAY", "soon")), "consentDate");
    assert_eq!(problem_field(&row("FIRMA", "ONAY", "2021-01-01 00:00:00")), "recipientType");
    assert_eq!(problem_field(&row("BIREYSEL", "EVET", "2021-01-01 00:00:00")), "status");
    let refusal = consents(&row("FIRMA", "ret", "soon")).remove(0);
    assert_eq!(refusal.recipient_type(), RecipientType::Unspecified);
    assert_eq!(refusal.consent_time, None);
}

#[test]
fn daily_rows_without_type_or_address_are_rejected_by_name() {
    let date = "2021-01-01 00:00:00";
    assert_eq!(problem_field(&iys_row(&format!("{date},k,+90,,FAX,RET,,HS_WEB"))), "type");
    assert_eq!(problem_field(&iys_row(&format!("{date},k,,,ARAMA,RET,,HS_WEB"))), "recipient");
    assert_eq!(problem_field(&iys_row(date)), "type");
    let shifted = iys_row(&format!("{date},k,+905311333449,,ARAMA,ONAY,{date},HS_WEB,more"));
    assert_eq!(problem_field(&shifted), "row");
}

#[test]
fn odd_files_are_read_and_their_lines_counted() {
    let text = concat!(
        "\u{feff}\r\n",
        "\"RECIPIENT\";Type;STATUS;ConsentDate;source;remark\r\n",
        "\r\n",
        "+905311333449;MESAJ;RET;;HS_WEB;\"a;b\"\r\n",
        "\r\n",
        "\r\n",
        "+905311333450;FAX;RET;;HS_WEB\r\n",
        "+905311333451;ARAMA;RET;;HS_WEB"
    );
    let file = opened(text.as_bytes());
    assert_eq!(Format::recognise(&file), Some(Format::IysDaily));
    let rows = iys(text);
    let lines: Vec<u64> = rows.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 7, 8]);
    assert_eq!(consents(&rows[0].1).len(), 3);
    assert_eq!(problem_field(&rows[1].1), "type");
    assert_eq!(consents(&rows[2].1).len(), 1);
}

#[test]
fn windows_1254_is_read_where_utf_8_fails() {
    let mut text = b"address,status\n".to_vec();
    text.extend_from_slice(b"\xfe\xfdk@example.com,withdrawn\n");
    text.extend_from_slice("şık@example.com,withdrawn\n".as_bytes());
    let rows = read_with(&text, Meaning::SendgateCsv, defaults());
    for (_, changes) in rows {
        let address = consents(&changes).remove(0).contact.unwrap().address;
        assert_eq!(address, "şık@example.com");
    }
}

#[test]
fn all_fields_of_an_event_are_read_from_csv_and_json() {
    let csv = concat!(
        "brand,kind,address,recipient_type,channel,purpose,status,consent_time,valid_until,source,",
        "legal_basis,notice_id,notice_version,actor_role,actor_id,collected_by,evidence_uri,",
        "evidence_sha256,event_key\n",
        "main,email,a@b.co,individual,email,newsletter,granted,2025-02-28T10:05:27.250Z,",
        "2026-01-01,web,consent,terms,3,staff,eve,agency,s3://x,",
        "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff,k1\n"
    );
    let json = concat!(
        r#"{"brand":"main","kind":"email","address":"a@b.co","recipient_type":"individual","#,
        r#""channel":"email","purpose":"newsletter","status":"GRANTED","#,
        r#""consent_time":"2025-02-28T10:05:27.250Z","valid_until":"2026-01-01","source":"web","#,
        r#""legal_basis":"consent","notice_id":"terms","notice_version":"3","actor_role":"staff","#,
        r#""actor_id":"eve","collected_by":"agency","evidence_uri":"s3://x","#,
        r#""evidence_sha256":"00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff","#,
        r#""event_key":"k1"}"#
    );
    let from_csv = read_with(csv.as_bytes(), Meaning::SendgateCsv, Defaults::default());
    let from_json = read_with(json.as_bytes(), Meaning::SendgateJson, Defaults::default());
    let event = consents(&from_csv[0].1).remove(0);
    assert_eq!(event, consents(&from_json[0].1).remove(0));
    assert_eq!(event.consent_time.unwrap().unix_ms, 1_740_737_127_250);
    assert_eq!(event.valid_until_ms, Some(1_767_225_600_000));
    assert_eq!(event.evidence.unwrap().sha256.len(), 32);
    assert_eq!(event.notice.unwrap().version, "3");
    assert_eq!(event.actor.unwrap().role(), ActorRole::Staff);
}

#[test]
fn the_command_line_fills_in_grants_and_never_narrows_a_withdrawal() {
    let filled = Defaults {
        channel: "sms".to_owned(),
        purpose: "marketing".to_owned(),
        recipient_type: RecipientType::Individual,
        consented_at: parse_time("2024-01-01", jiff::tz::Offset::UTC),
        ..defaults()
    };
    let text = b"address,status\n1,granted\n2,withdrawn\n3,manual-block\n";
    let rows = read_with(text, Meaning::SendgateCsv, filled);
    let grant = consents(&rows[0].1).remove(0);
    assert_eq!((grant.channel.as_str(), grant.purpose.as_str()), ("sms", "marketing"));
    assert_eq!(grant.consent_time.unwrap().precision(), Precision::Day);
    let withdrawal = consents(&rows[1].1).remove(0);
    assert_eq!((withdrawal.channel.as_str(), withdrawal.purpose.as_str()), ("", ""));
    assert_eq!(withdrawal.recipient_type(), RecipientType::Unspecified);
    assert_eq!(withdrawal.consent_time, None);
    assert_eq!(suppressions(&rows[2].1)[0].reason(), Reason::ManualBlock);
}

#[test]
fn rows_that_say_too_little_or_nonsense_are_rejected_by_field() {
    let reject = |header: &str, row: &str| {
        let text = format!("{header}\n{row}\n");
        let rows = read_with(text.as_bytes(), Meaning::SendgateCsv, defaults());
        problem_field(&rows[0].1).to_owned()
    };
    let grant = "address,status,channel,purpose,recipient_type,consent_time";
    assert_eq!(reject(grant, "1,granted,sms,,individual,2024-01-01"), "purpose");
    assert_eq!(reject(grant, "1,granted,sms,*,individual,2024-01-01"), "purpose");
    assert_eq!(reject(grant, "1,granted,,marketing,individual,2024-01-01"), "channel");
    assert_eq!(reject(grant, "1,granted,sms,marketing,,2024-01-01"), "recipient_type");
    assert_eq!(reject(grant, "1,granted,sms,marketing,individual,"), "consent_time");
    assert_eq!(reject(grant, "1,granted,sms,marketing,individual,later"), "consent_time");
    assert_eq!(reject(grant, ",granted,sms,marketing,individual,2024-01-01"), "address");
    assert_eq!(reject("address,status,brand", "1,withdrawn,other"), "brand");
    assert_eq!(reject("address,status,kind", "1,withdrawn,fax"), "kind");
    assert_eq!(reject("address,status", "1,permitted"), "status");
    assert_eq!(reject("address,status,purpose", "1,hard_bounce,x"), "purpose");
    assert_eq!(reject("address,status,evidence_sha256", "1,withdrawn,+f"), "evidence_sha256");
    assert_eq!(reject("address,status,actor_role", "1,withdrawn,boss"), "actor_role");
}

#[test]
fn an_unknown_column_or_member_is_refused() {
    let file = opened(b"address,status,valid_untill\n");
    let error = ItemReader::new(file, Meaning::SendgateCsv, defaults()).err().unwrap();
    assert!(error.to_string().contains("valid_untill"));
    let json = br#"{"address":"1","status":"withdrawn","valid_untill":"x"}"#;
    let rows = read_with(json, Meaning::SendgateJson, defaults());
    assert_eq!(problem_field(&rows[0].1), "row");
    let rows = read_with(b"{\"address\":}", Meaning::SendgateJson, defaults());
    assert_eq!(problem_field(&rows[0].1), "row");
}

#[test]
fn plain_lines_mean_what_the_command_line_says() {
    let text = "\n 0532 123 45 67 \r\n\r\na,b\"c\n";
    let stop = Defaults { channel: "sms".to_owned(), ..defaults() };
    let rows = read_with(text.as_bytes(), Meaning::Plain(Status::Withdrawn), stop);
    let addresses: Vec<(u64, String)> = rows
        .iter()
        .map(|(line, changes)| (*line, consents(changes).remove(0).contact.unwrap().address))
        .collect();
    let expected = [(2, "0532 123 45 67".to_owned()), (4, "a,b\"c".to_owned())];
    assert_eq!(addresses, expected);
    assert!(Status::Granted.check(&defaults()).is_err());
    let bounce = Status::parse("hard-bounce").unwrap();
    assert!(bounce.check(&defaults()).is_ok());
    assert_eq!(Status::parse("opted_out"), None, "a verdict is no suppression");
}

#[test]
fn only_what_is_certain_is_recognised() {
    let recognise = |text: &str| Format::recognise(&opened(text.as_bytes()));
    assert_eq!(recognise(IYS_HEADER), Some(Format::IysDaily));
    assert_eq!(recognise("Address; STATUS ;x\n"), Some(Format::SendgateCsv));
    assert_eq!(recognise("\n\n {\"address\":1}"), Some(Format::SendgateJson));
    assert_eq!(recognise("customer,phone,city\n"), None);
    assert_eq!(recognise("+905321234567\n"), None);
    assert_eq!(recognise(""), None);
}

#[test]
fn rows_keep_their_bytes() {
    let text = "a;\"b\r\n\"\"c\";d\r\n\r\n\n e;f\nlast;\"x\"";
    let mut rows = opened(text.as_bytes()).rows(Shape::Delimited(b';'));
    let mut seen = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        let fields: Vec<String> = row.fields.iter().map(str::to_owned).collect();
        seen.push((row.line, row.raw.to_vec(), fields));
    }
    let strings = |fields: &[&str]| fields.iter().map(|&f| f.to_owned()).collect::<Vec<_>>();
    assert_eq!(seen[0].1, b"a;\"b\r\n\"\"c\";d\r\n");
    assert_eq!(seen[0].2, strings(&["a", "b\r\n\"c", "d"]));
    assert_eq!((seen[1].0, seen[1].1.as_slice()), (5, b" e;f\n".as_slice()));
    assert_eq!((seen[2].0, seen[2].1.as_slice()), (6, b"last;\"x\"".as_slice()));
    assert_eq!((seen.len(), rows.blank_lines()), (3, 2));
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_and_not_all_memory() {
    let text = format!("a,\"b\n{}", "x".repeat(3 << 20));
    let mut rows = opened(text.as_bytes()).rows(Shape::Delimited(b','));
    assert!(rows.next_row().unwrap_err().to_string().contains("line 1"));
}

#[test]
fn an_open_quote_spoils_its_own_line_only() {
    let text = "address,status,source\n\
                05551240001,withdrawn,\"a\n\
                05551240002,withdrawn,b\n\
                \n\
                05551240003,withdrawn,\"c";
    let mut rows = opened(text.as_bytes()).rows(Shape::Records(b','));
    let mut found = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        found.push((row.line, row.fault.is_some(), row.fields.len()));
    }
    assert_eq!(found, [(1, false, 3), (2, true, 0), (3, false, 3), (5, true, 0)]);
}

#[test]
fn a_bare_carriage_return_loses_no_row_unseen() {
    let text =
        "address,status\n05551240001,withdrawn\r05551240002,withdrawn\n05551240003,withdrawn\r\n";
    let mut rows = opened(text.as_bytes()).rows(Shape::Records(b','));
    let mut found = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        found.push((row.line, row.fault.is_some()));
    }
    assert_eq!(found, [(1, false), (2, true), (3, false)]);
}
