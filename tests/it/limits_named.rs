//! No cap without a test: each constant of `src/caps.rs` is used by a test here
//! or a unit test, or a test sets a smaller one of its name in `Limits`, or it
//! stands here with the reason why its edge cannot be driven. And the caps of
//! files and data structures, at their edges.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use sendgate::{
    caps,
    clock::Clock,
    domain::{
        address::{Accept, AddressError, read_email, read_external_id, read_phone},
        policy::{Names, Policy, STARTER},
    },
    tokens::Tokens,
    transport::{Tls, TlsFiles},
};

use crate::{
    certificates::{Authority, VALID},
    support::START,
};

/// Caps whose edge is no request's: what holds them instead.
const NOT_DRIVEN: &[(&str, &str)] = &[
    ("ANSWER_BYTES", "no request reaches it: asserted beside the constants when compiled"),
    ("IMPORT_AHEAD", "chunks above it wait and are not refused: HTTP/2 holds the sender back"),
    ("ANSWERS_AHEAD", "answers above it wait for their reader, and the stream's next batch too"),
    ("MESSAGES_AHEAD", "messages above it wait for their reader"),
    ("REACH_TIME", "ten seconds of counting; the refusal stands in service/reach.rs"),
    ("RECORDS_BYTES", "an answer is cut below it and says so: history.rs fills events to the full"),
    ("EXPORT_PATIENCE", "a minute with a reader that does not read"),
    ("AUDIT_HEAD", "a period, and no cap"),
    ("RETRY_AFTER", "what overload.rs reads from the refusals"),
    ("QUEUED_CHANGES", "a parameter of the writer: overload.rs drives it with a small one"),
    ("GROUP_CHANGES", "a parameter of the writer: more go into the next group"),
    ("ERROR_RESETS", "set on the transport; met by breaking the protocol (F15)"),
    ("KEEPALIVE", "half a minute of a peer that is gone"),
    ("KEEPALIVE_ANSWER", "set on the transport, follows the former"),
    ("ACCEPT_PAUSE", "a pause after an error, and no cap"),
    ("REFUSALS_LOGGED", "a period, and no cap"),
    ("TRACES_LOGGED", "a period, and no cap"),
    ("TOKEN_EXPIRY", "a period, and no cap"),
    ("TLS_WARNING", "the days before an end from which the log warns"),
    ("OTHER_FILES", "slow_clients.rs drives it by the limit of open files"),
    ("PENDING_RESETS", "set on the transport; http2_abuse.rs meets it"),
    ("BACKUP_BYTES", "a part of a stream; asserted to fit a message when compiled"),
    ("BACKUP_PATIENCE", "a minute with a reader that does not read"),
    ("CONNECTIONS_CHOICE", "at its edges in the unit tests of config"),
    ("STREAM_IDLE_CHOICE", "at its edges in the unit tests of config"),
    ("STREAM_AGE_CHOICE", "at its edges in the unit tests of config"),
    ("FILTER_MIB_CHOICE", "at its edges in the unit tests of config"),
    ("TRANSPORT_MIB_CHOICE", "at its edges in the unit tests of config"),
    ("DRAIN_CHOICE", "at its edges in the unit tests of config"),
    ("CONFIG_FILE_BYTES", "at its edge in the unit tests of config"),
    ("LINGER", "slow_clients.rs: a peer that does not hang up"),
    ("HTTP_TIME", "ten seconds of a peer that does not read"),
    ("PLANES_MEASURED", "a period, and no cap"),
    ("MEMORY_RESERVE", "tests/faults/memory.rs meets it"),
    ("MEMORY_GIVEN_BACK", "a period, and no cap"),
    ("REPLAYED_ERASURES", "more than it go into the next task: restore/marks.rs replays hundreds"),
];

#[test]
fn every_cap_is_named_by_a_test_or_has_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("src/caps.rs")).unwrap();
    let declared: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .collect();
    assert!(declared.len() > 40, "the constants were not found");
    let settable: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split(':').next())
        .collect();
    assert!(settable.len() > 5 && settable.contains("stream_idle"), "{settable:?}");
    let tests = tests(&root.join("tests/it")) + &tests(&root.join("src"));
    let words: BTreeSet<&str> = tests
        .match_indices("caps::")
        .filter_map(|(at, found)| {
            tests[at + found.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next()
        })
        .collect();
    let is_set = |name: &str| {
        let field = name.to_lowercase();
        settable.contains(&*field)
            && tests.match_indices("Limits {").any(|(at, _)| {
                let values = tests[at..].split('}').next().unwrap();
                values.contains(&format!(" {field}:"))
            })
    };
    let excused: BTreeSet<&str> = NOT_DRIVEN.iter().map(|(name, _)| *name).collect();
    let unknown: Vec<_> = excused.difference(&declared).collect();
    assert!(unknown.is_empty(), "no caps of these names: {unknown:?}");
    let untested: Vec<_> = declared
        .iter()
        .filter(|name| !words.contains(*name) && !is_set(name) && !excused.contains(*name))
        .collect();
    assert!(untested.is_empty(), "test these caps at their edges, or say why not: {untested:?}");
}

/// The tests in a folder: whole files, and what is only compiled for tests.
fn tests(folder: &Path) -> String {
    let mut found = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found += &tests(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let is_whole = !path.components().any(|part| part.as_os_str() == "src")
                || path.to_string_lossy().ends_with("_tests.rs");
            let begin = if is_whole { 0 } else { text.find("#[cfg(test)]").unwrap_or(text.len()) };
            found += &text[begin..];
        }
    }
    found
}

/// Tries a cap at its edge.
fn edge(name: &str, cap: usize, is_accepted: impl Fn(usize) -> bool) {
    for size in [cap - 1, cap, cap + 1] {
        assert_eq!(is_accepted(size), size <= cap, "{name}: {size} of at most {cap}");
    }
}

#[test]
fn addresses_have_so_many_bytes() {
    edge("external ID", 128, |size| read_external_id("i".repeat(size).as_bytes()).is_ok());
    let email = |local: usize, labels: &[usize]| {
        let labels: Vec<String> = labels.iter().map(|size| "d".repeat(*size)).collect();
        let text = format!("{}@{}.com", "l".repeat(local), labels.join("."));
        (text.len(), read_email(text.as_bytes(), &mut String::new()).map(|_| ()))
    };
    edge("e-mail address", 254, |size| {
        // Behind the @ are 3 × 61 letters, 3 dots and "com".
        let (length, read) = email(size - 190, &[61, 61, 61]);
        assert_eq!(length, size);
        assert!(matches!(read, Ok(()) | Err(AddressError::EmailLength)), "{read:?}");
        read.is_ok()
    });
    edge("label of a domain", 63, |size| email(1, &[size]).1.is_ok());
    edge("digits of a phone number", 15, |size| {
        let number = format!("+883{}", "1".repeat(size - 3));
        read_phone(number.as_bytes(), None, Accept::Possible).is_ok()
    });
}

/// A policy with so many of each, whose names have so many bytes.
fn policy(brands: usize, channels: usize, purposes: usize, name: usize) -> String {
    let names = |class: char, count: usize| {
        (0..count).map(move |at| format!("{class}{at:0>width$}", width = name - 1))
    };
    let mut text = "version = \"v\"\n".to_owned();
    names('c', channels)
        .for_each(|name| text += &format!("[channels.{name}]\nkinds = [\"phone\"]\n"));
    names('p', purposes)
        .for_each(|name| text += &format!("[purposes.{name}]\nindividual = \"opt_in\"\n"));
    names('b', brands).for_each(|name| text += &format!("[brands.{name}]\n"));
    text
}

fn reads(text: &str) -> bool {
    Policy::read(text, Names::default()).is_ok()
}

#[test]
fn policies_have_so_many_of_each() {
    edge("channels", 64, |size| reads(&policy(1, size, 1, 8)));
    edge("purposes", 64, |size| reads(&policy(1, 1, size, 8)));
    edge("bytes of a name", 64, |size| reads(&policy(1, 1, 1, size)));
    edge("scopes", 4_096, |size| {
        // 63 brands of 65 scopes are 4,095; the others come one by one.
        let text = policy(63, 13, 5, 8);
        let more = size - 63 * 65;
        let single =
            |at| format!("[brands.x{at}]\nchannels = [\"c0000000\"]\npurposes = [\"p0000000\"]\n");
        let text = (0..more).fold(text, |text, at| text + &single(at));
        let scopes = Policy::read(&text, Names::default()).map(|policy| policy.scopes().len());
        scopes.is_ok_and(|scopes| scopes == size)
    });
    edge("bytes of a policy", 1 << 20, |size| {
        let comment = "#".repeat(size - STARTER.len() - 1);
        let text = format!("{STARTER}{comment}\n");
        assert_eq!(text.len(), size);
        reads(&text)
    });
    edge("days of a validity", 36_525, |days| {
        let rule = format!("{{ regime = \"opt_in\", default_validity_days = {days} }}");
        reads(&policy(1, 1, 1, 8).replace("\"opt_in\"", &rule))
    });
    edge("years of a retention", 100, |years| {
        reads(&format!("{}[retention]\nredact_after_years = {years}\n", policy(1, 1, 1, 8)))
    });
}

fn clock() -> Clock {
    Clock::Manual(Arc::new(AtomicI64::new(START)))
}

/// Appends to a file until it has so many bytes.
fn pad(path: &Path, size: usize, with: &str) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.clone() + &with.repeat(size - text.len())).unwrap();
    assert_eq!(path.metadata().unwrap().len() as usize, size);
}

#[test]
fn files_of_tls_and_of_tokens_have_so_many_bytes() {
    let authority = Authority::new();
    edge("TLS_FILE_BYTES", usize::try_from(caps::TLS_FILE_BYTES).unwrap(), |size| {
        let folder = tempfile::tempdir().unwrap();
        let issued = authority.issue(&["localhost"], VALID, 1);
        let (certificate, key) = issued.write(folder.path(), "server");
        pad(&certificate, size, "\n");
        let files = TlsFiles { certificate, key, client_ca: None };
        Tls::open(files, clock())
            .inspect_err(|error| assert!(error.to_string().contains("is larger than")))
            .is_ok()
    });
    edge("TOKENS_FILE_BYTES", usize::try_from(caps::TOKENS_FILE_BYTES).unwrap(), |size| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.json");
        fs::write(&file, "{\"version\": 1, \"tokens\": []}").unwrap();
        pad(&file, size, " ");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        Tokens::open(folder.path(), clock()).is_ok()
    });
}
