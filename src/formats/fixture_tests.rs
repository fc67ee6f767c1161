//! Every format by its fixture: what each row becomes, in a word a row.
//!
//! `2 WITHDRAWN email/* a@b.co @1736277945` is the withdrawal that the row on
//! line 2 stands for; `!` tells the field that a row is rejected for.

use std::{fs, path::Path};

use super::{tests::*, *};
use crate::proto::v1::{RecipientType, StatedTime, import_item::Change};

fn bytes(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/imports");
    fs::read(folder.join(file)).unwrap()
}

/// The command line of someone who imports grants.
fn granting() -> Defaults {
    Defaults {
        purpose: "newsletter".to_owned(),
        recipient_type: RecipientType::Individual,
        ..defaults()
    }
}

fn mapping() -> IysMapping {
    IysMapping::from_policy(POLICY, "main").unwrap()
}

/// The meaning of the format that the file is recognised as.
fn meaning(bytes: &[u8]) -> Meaning {
    match Format::recognise(&opened(bytes)).expect("not recognised") {
        Format::IysDaily => Meaning::IysDaily(mapping()),
        Format::IysJson => Meaning::IysJson(mapping()),
        Format::IysUpload => Meaning::IysUpload(mapping()),
        Format::SendgateCsv => Meaning::SendgateCsv,
        Format::SendgateJson => Meaning::SendgateJson,
        Format::SesCsv => Meaning::SesCsv,
        Format::SesJson => Meaning::SesJson,
        Format::Sendgrid => Meaning::Sendgrid,
        Format::Mailgun => Meaning::Mailgun(["marketing", "newsletter"].map(str::to_owned).into()),
        Format::Mailchimp => Meaning::Mailchimp,
        Format::HubspotOptout => Meaning::HubspotOptout,
        Format::TwilioConsent => Meaning::TwilioConsent,
        Format::FtcDnc => Meaning::FtcDnc,
        Format::Feed => Meaning::Feed(Default::default()),
        Format::Plain => panic!("never recognised"),
    }
}

fn time(stated: Option<StatedTime>) -> String {
    stated.map_or("now".to_owned(), |time| format!("@{}", time.unix_ms / 1_000))
}

fn or_any(name: &str) -> &str {
    if name.is_empty() { "*" } else { name }
}

fn word(change: &Change) -> String {
    match change {
        Change::Consent(event) => format!(
            "{} {}/{} {} {}{}",
            event.status().as_str_name().trim_start_matches("CONSENT_STATUS_"),
            or_any(&event.channel),
            or_any(&event.purpose),
            event.contact.as_ref().unwrap().address,
            time(event.consent_time),
            if event.registered_with.is_empty() { "" } else { " registered" },
        ),
        Change::Suppression(entry) => format!(
            "{} {} {} {}",
            reason_name(entry.reason()),
            or_any(&entry.channel),
            entry.contact.as_ref().unwrap().address,
            time(entry.since),
        ),
        Change::Lift(_) | Change::Erasure(_) => panic!("only a change feed lifts and erases"),
    }
}

fn words_of(bytes: &[u8], defaults: Defaults) -> Vec<String> {
    let mut reader = ItemReader::new(opened(bytes), meaning(bytes), defaults).unwrap();
    let rows = std::iter::from_fn(|| reader.next_row().unwrap());
    rows.map(|ItemRow { line, changes, .. }| match changes {
        Ok(items) => {
            let words: Vec<String> =
                items.iter().map(|item| word(item.change.as_ref().unwrap())).collect();
            format!("{line} {}", words.join(", "))
        }
        Err(problem) => format!("{line} !{}", problem.field),
    })
    .collect()
}

fn words(file: &str) -> Vec<String> {
    words_of(&bytes(file), granting())
}

#[test]
fn iys_uploads_are_not_registered_yet() {
    let expected = [
        "2 GRANTED mms/marketing 5459419845 @1750417200, \
         GRANTED rcs/marketing 5459419845 @1750417200, \
         GRANTED sms/marketing 5459419845 @1750417200",
        "3 WITHDRAWN call/* 5459419846 @1750417200",
        // A refusal counts without a time that can be read, a grant does not.
        "5 WITHDRAWN email/* ornek@mail.com now",
        "6 !IZIN TARIHI",
        "7 !IZIN TARIHI",
        "8 !ONAY(1)-RET(0)",
        "9 !IZIN TURU",
        "10 !ALICI",
        "11 !row",
    ];
    assert_eq!(words("iys-upload.csv"), expected);
    let bytes = bytes("iys-upload.csv");
    let text = std::str::from_utf8(&bytes).unwrap();
    let turkish = encoding_rs::WINDOWS_1254.encode(text).0;
    assert_eq!(words_of(&turkish, granting()), expected, "its header is Turkish too");
    let mut reader = ItemReader::new(opened(&bytes), meaning(&bytes), defaults()).unwrap();
    let types: Vec<RecipientType> = std::iter::from_fn(|| reader.next_row().unwrap())
        .take(2)
        .map(|row| consents(&row.changes).remove(0).recipient_type())
        .collect();
    // The file has no column for the type: a refusal is meant for both.
    assert_eq!(types, [RecipientType::Individual, RecipientType::Unspecified]);
}

#[test]
fn iys_objects_mean_what_daily_rows_mean() {
    let expected = [
        "2 GRANTED call/marketing +905311333449 @1594181227 registered",
        "3 WITHDRAWN call/* 905311333449 @1594267627 registered",
        "11 !consentDate",
        "12 !status",
    ];
    assert_eq!(words("iys.json"), expected);
    let expected = [
        "1 GRANTED call/marketing +905311333449 @1594181227 registered",
        "3 !row",
        "4 WITHDRAWN call/* +905311333449 now registered",
    ];
    assert_eq!(words("iys.ndjson"), expected);
}

#[test]
fn ses_suppresses_on_every_channel_or_the_one_named() {
    let expected = [
        "1 HARD_BOUNCE * recipient1@example.com now",
        "2 SPAM_COMPLAINT * recipient2@example.com now",
        // Whoever is on the list is not written to, for whatever reason.
        "4 HARD_BOUNCE * recipient3@example.com now",
        "5 !emailAddress",
        "6 HARD_BOUNCE * recipient4@example.com now",
        "7 !row",
    ];
    assert_eq!(words("ses.csv"), expected);
    let expected = [
        "1 HARD_BOUNCE * recipient1@example.com now",
        "2 SPAM_COMPLAINT * recipient2@example.com @1736277945",
        "3 HARD_BOUNCE * recipient3@example.com now",
        "4 !emailAddress",
    ];
    assert_eq!(words("ses.ndjson"), expected);
    // An address may well look like the names of the columns, and names may
    // stand there.
    let odd = b"emailaddress-reason@example.com,BOUNCE\n";
    let expected = "1 HARD_BOUNCE * emailaddress-reason@example.com now";
    assert_eq!(words_of(odd, granting()), [expected]);
    let named = b"EmailAddress,Reason\na@b.co,COMPLAINT\n";
    assert_eq!(words_of(named, granting()), ["2 SPAM_COMPLAINT * a@b.co now"]);
    let email = Defaults { channel: "email".to_owned(), ..defaults() };
    let expected = ["3 SPAM_COMPLAINT email recipient1@example.com @1736277945"];
    assert_eq!(words_of(&bytes("ses-listed.json"), email), expected);
}

#[test]
fn sendgrid_lists_are_told_apart_by_their_columns() {
    let expected = [
        "2 WITHDRAWN email/* alice@example.com @1736277945",
        "3 WITHDRAWN email/* bob@example.com now",
        "4 !email",
        "5 WITHDRAWN email/* carol@example.com now",
    ];
    assert_eq!(words("sendgrid-unsubscribes.csv"), expected);
    let expected = [
        "2 HARD_BOUNCE * alice@example.com @1736277945",
        // A mail server that speaks of spam is no recipient who complains.
        "3 HARD_BOUNCE * bob@example.com @1736277945",
        "4 SPAM_COMPLAINT * carol@example.com @1736277945",
        "5 HARD_BOUNCE * dan@example.com @1736277945",
    ];
    assert_eq!(words("sendgrid-bounces.csv"), expected);
    let expected = [
        "2 SPAM_COMPLAINT * alice@example.com @1736277945",
        "3 SPAM_COMPLAINT * bob@example.com @1736277945",
    ];
    assert_eq!(words("sendgrid-spam-reports.csv"), expected);
    let expected = [
        "2 INVALID_ADDRESS * alice@exmaple.con @1736277945",
        "3 INVALID_ADDRESS * bob@example.con @1736277945",
    ];
    assert_eq!(words("sendgrid-invalid.csv"), expected);
}

#[test]
fn mailgun_tags_are_purposes_where_the_policy_knows_them_all() {
    let expected = [
        "2 WITHDRAWN email/* alice@example.com @1736277945",
        "3 WITHDRAWN email/newsletter bob@example.com @1736277945",
        "4 WITHDRAWN email/marketing carol@example.com now, \
         WITHDRAWN email/newsletter carol@example.com now",
        "5 WITHDRAWN email/* dan@example.com @1736277945",
        "6 WITHDRAWN email/* eve@example.com now",
        "7 !address",
    ];
    assert_eq!(words("mailgun.csv"), expected);
}

#[test]
fn mailchimp_files_are_told_apart_by_their_columns() {
    let expected = [
        "2 GRANTED email/newsletter alice@example.com @1736277945",
        "3 !consent_time",
        "4 !OPTIN_TIME",
        "5 !Email Address",
    ];
    assert_eq!(words("mailchimp-subscribed.csv"), expected);
    let expected = [
        "2 WITHDRAWN email/* alice@example.com @1736277945",
        "3 WITHDRAWN email/* bob@example.com now",
    ];
    assert_eq!(words("mailchimp-unsubscribed.csv"), expected);
    let expected =
        ["2 HARD_BOUNCE * alice@example.com @1736277945", "3 HARD_BOUNCE * bob@example.com now"];
    assert_eq!(words("mailchimp-cleaned.csv"), expected);
}

#[test]
fn a_grant_needs_what_the_file_does_not_say() {
    let file = bytes("mailchimp-subscribed.csv");
    let without = words_of(&file, defaults());
    assert_eq!(without[..2], ["2 !purpose", "3 !purpose"]);
    let no_type = Defaults { recipient_type: RecipientType::Unspecified, ..granting() };
    assert_eq!(words_of(&file, no_type)[0], "2 !recipient_type");
    let consented_at = parse_time("2024-01-01 00:00:00", jiff::tz::Offset::UTC);
    let dated = words_of(&file, Defaults { consented_at, ..granting() });
    // Its own time comes first, and one that cannot be read is not replaced.
    let expected = [
        "2 GRANTED email/newsletter alice@example.com @1736277945",
        "3 GRANTED email/newsletter bob@example.com @1704067200",
        "4 !OPTIN_TIME",
    ];
    assert_eq!(dated[..3], expected);
}

#[test]
fn hubspot_and_twilio_opt_out_of_the_channel() {
    let expected = [
        "3 WITHDRAWN email/* alice@example.com now",
        "4 WITHDRAWN email/* Bob@Example.com now",
        "5 !row",
    ];
    assert_eq!(words("hubspot-optout.csv"), expected);
    let expected = [
        "2 WITHDRAWN sms/* +19999999991 @1740737127",
        "3 GRANTED sms/newsletter +19999999992 @1740737127",
        "4 !date_of_consent",
        "5 WITHDRAWN whatsapp/* +19999999994 now",
        "6 !status",
    ];
    assert_eq!(words("twilio.json"), expected);
    assert_eq!(words("twilio.ndjson"), ["1 WITHDRAWN sms/* +19999999991 @1740737127"]);
    assert_eq!(words_of(&bytes("twilio.json"), defaults())[1], "3 !purpose");
    let file = bytes("twilio.json");
    let mut reader = ItemReader::new(opened(&file), meaning(&file), defaults()).unwrap();
    let first = consents(&reader.next_row().unwrap().unwrap().changes).remove(0);
    assert_eq!(first.event_key, "02f7a557cae636a62fcb82cbd5cb5ad1");
}

#[test]
fn a_do_not_call_list_blocks_calls_with_or_without_its_header() {
    let expected = [
        "2 LEGAL_BLOCK call +12025550123 now",
        "3 LEGAL_BLOCK call +12035550124 now",
        "4 !area",
        "5 !number",
    ];
    assert_eq!(words("ftc-dnc.csv"), expected);
    let expected = ["1 LEGAL_BLOCK call +12025550123 now", "2 LEGAL_BLOCK call +12035550124 now"];
    assert_eq!(words("ftc-dnc-bare.csv"), expected);
}

#[test]
fn other_encodings_are_read_and_named() {
    let expected = [
        "2 WITHDRAWN */* şık@example.com now",
        "3 WITHDRAWN */* ığdır@example.com now",
        "4 WITHDRAWN */* plain@example.com now",
    ];
    for (file, encoding) in [("utf-16.csv", "UTF-16LE"), ("windows-1254.csv", "windows-1254")] {
        let file = bytes(file);
        assert_eq!(opened(&file).encoding(), Some(encoding));
        assert_eq!(words_of(&file, defaults())[..3], expected, "{encoding}");
    }
    assert_eq!(opened("address,status\nşık@example.com,withdrawn\n".as_bytes()).encoding(), None);
    let big_endian: Vec<u8> = "\u{feff}a,b\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(opened(&big_endian).first_line(), b"a,b\n");
    // A character that the look at the beginning cuts in two is no other encoding.
    let cut = [vec![b'x'; (64 << 10) - 1], "ş\n".into()].concat();
    assert_eq!(opened(&cut).encoding(), None);
}

#[test]
fn an_array_that_is_broken_says_where() {
    let object = r#"{"address":"1","status":"withdrawn","channel":"sms"}"#;
    let error = |text: String| {
        let file = opened(text.as_bytes());
        let mut reader = ItemReader::new(file, Meaning::SendgateJson, defaults()).unwrap();
        let mut rows = 0;
        let error = loop {
            match reader.next_row() {
                Ok(Some(row)) => rows += row.changes.unwrap().len(),
                Ok(None) => return (rows, "none".to_owned()),
                Err(error) => break error.to_string(),
            }
        };
        assert!(reader.next_row().unwrap().is_none(), "nothing comes after an error");
        (rows, error)
    };
    assert_eq!(error(format!("[{object},\n{object}]\n")), (2, "none".to_owned()));
    assert_eq!(error("[\n]".to_owned()), (0, "none".to_owned()));
    let (rows, cut) = error(format!("[{object},\n{object}"));
    assert!(rows == 2 && cut.contains("line 2") && cut.contains("ends before"), "{cut}");
    let (rows, broken) = error(format!("[{object},\n\n{{\"address\" 1}},{object}]"));
    assert!(rows == 1 && broken.contains("line 3, object 2"), "{broken}");
    let (rows, second) = error(format!("{{\"Items\":[{object}], \"Count\":1}}\n{{\"Items\":[]}}"));
    assert!(rows == 1 && second.contains("line 2") && second.contains("more follows"), "{second}");
    let (_, number) = error(format!("[{object},7]"));
    assert!(number.contains("an object is expected"), "{number}");
    let (_, long) = error(format!("[{{\"address\":\"{}\"}}]", "1".repeat(2 << 20)));
    assert!(long.contains("longer than 1 MiB"), "{long}");
}

#[test]
fn a_rejected_row_comes_with_its_text() {
    let file = b"address,status\n\xfe\xfdk@example.com,belki\n";
    let mut reader = ItemReader::new(opened(file), Meaning::SendgateCsv, defaults()).unwrap();
    let row = reader.next_row().unwrap().unwrap();
    assert_eq!((row.line, row.text.as_str()), (2, "şık@example.com,belki"));
}

#[test]
fn a_column_twice_is_not_guessed() {
    let file = opened(b"email,created,EMAIL\na@b.co,1,c@d.co\n");
    let error = ItemReader::new(file, Meaning::Sendgrid, defaults()).err().unwrap();
    assert!(error.to_string().contains("email twice"), "{error}");
}

#[test]
fn the_command_line_does_not_change_the_channel_that_twilio_names() {
    let said = Defaults { channel: "rcs".to_owned(), ..defaults() };
    let item = |contact: &str| {
        format!("{{\"contact_id\":\"{contact}\",\"correlation_id\":\"\",\"status\":\"opt-out\"}}\n")
    };
    let file = item("whatsapp:+19999999994") + &item("+19999999991");
    let expected =
        ["1 WITHDRAWN whatsapp/* +19999999994 now", "2 WITHDRAWN rcs/* +19999999991 now"];
    assert_eq!(words_of(file.as_bytes(), said), expected);
}

#[test]
fn who_unsubscribed_and_was_cleaned_is_both() {
    let file = "Email Address,UNSUB_TIME,CLEAN_TIME\n\
                a@example.com,2025-01-01 10:00:00,2025-02-01 10:00:00\n";
    let found = words_of(file.as_bytes(), defaults());
    assert!(
        found[0].contains("HARD_BOUNCE") && found[0].contains("WITHDRAWN email/*"),
        "{found:?}"
    );
}
