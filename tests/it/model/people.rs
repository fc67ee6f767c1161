//! A small population in many spellings, and the policy it lives under.

use sendgate::proto::v1::ContactKind;

use super::words::{DAY, Regime, Scope, Time, Type};

/// One contact.
pub struct Person {
    pub kind: ContactKind,
    /// Spellings of one address; the first one is canonical.
    pub spellings: Vec<String>,
    /// The address as an integer, for phones and contact IDs.
    pub number: Option<u64>,
}

/// What stands in recipient lists and is nobody's address, by kind.
pub fn garbage(kind: ContactKind) -> &'static [&'static str] {
    match kind {
        ContactKind::Phone => &["", "abc", "905321230000.0", "+90 532", "0532123000x"],
        ContactKind::Email => &["", "nobody", "a@b", "a@b.com,c@d.com", "two@at@x.com"],
        ContactKind::ContactId => &["", "-1", "4 2", "18446744073709551616"],
        _ => &["", "a\tb"],
    }
}

/// Integers that are no phone number in any regime.
pub const NO_NUMBERS: [u64; 4] = [0, 999_999, 1_000_000_000_000_000, u64::MAX];
/// An integer whose country code nobody has: refused where unknown would mean
/// permitted, and merely unknown elsewhere (R1).
pub const NO_COUNTRY: u64 = 2_100_000_000;

/// The last of each kind are strangers, of whom nobody says anything. They may
/// be erased, or turn out to be somebody's right address.
pub fn population() -> Vec<Person> {
    let turkish = (0..9).map(|n| {
        let (area, rest) = (530 + n, 1_234_500 + n * 37);
        let national = format!("{area}{rest}");
        let (a, b, c) = (&national[3..6], &national[6..8], &national[8..]);
        let spellings = vec![
            format!("90{national}"),
            format!("+90{national}"),
            format!("0{national}"),
            national.clone(),
            format!("0 ({area}) {a} {b} {c}"),
            format!("0090{national}"),
            format!("+900{national}"),
        ];
        person(ContactKind::Phone, spellings)
    });
    let foreign = ["4791234567", "359888123456", "4915123456789", "12025550123"].map(|digits| {
        let spaced = format!("+{} {}-{}", &digits[..4], &digits[4..7], &digits[7..]);
        let spellings =
            vec![digits.to_owned(), format!("+{digits}"), format!("00{digits}"), spaced];
        Person {
            // Without a sign a foreign number may be a Turkish one.
            spellings: spellings[1..].to_vec(),
            ..person(ContactKind::Phone, spellings)
        }
    });
    let emails = (0..10).map(|n| {
        let spellings = vec![
            format!("kisi{n}@ornek.com.tr"),
            format!("Kisi{n}@Ornek.COM.TR"),
            format!("  kisi{n}@ornek.com.tr "),
        ];
        person(ContactKind::Email, spellings)
    });
    let unicode = ["ayşe@örnek.com", "AYŞE@ÖRNEK.com"].map(str::to_owned).to_vec();
    // Low, across a page's edge, scattered, and the two ends.
    let numbers = [0, 42, 65_535, 65_536, 1 << 40, 7_216_349_121_843_200_000, u64::MAX, 9, 10];
    let ids = numbers.map(|id: u64| person(ContactKind::ContactId, vec![id.to_string()]));
    let externals = ["A-1", "a-1", "müşteri 7", "0042", "42", &"x".repeat(128), "stranger"]
        .map(|text| person(ContactKind::ExternalId, vec![text.to_owned()]));
    foreign
        .into_iter()
        .chain(turkish)
        .chain([person(ContactKind::Email, unicode)])
        .chain(emails)
        .chain(ids)
        .chain(externals)
        .collect()
}

fn person(kind: ContactKind, spellings: Vec<String>) -> Person {
    let is_number = matches!(kind, ContactKind::Phone | ContactKind::ContactId);
    let number = spellings.first().filter(|_| is_number).map(|text| text.parse().unwrap());
    Person { kind, spellings, number }
}

/// The persons of whom somebody may say something.
pub fn known(people: &[Person]) -> Vec<usize> {
    let is_last = |at: usize| people.get(at + 1).is_none_or(|next| next.kind != people[at].kind);
    (0..people.len()).filter(|at| !is_last(*at)).collect()
}

pub const BRANDS: [&str; 2] = ["main", "other"];
pub const PURPOSES: [&str; 4] = ["marketing", "newsletter", "service", "transactional"];
/// The default validity of the newsletter for individuals.
pub const VALIDITY: Time = 2 * DAY;

/// The channels that reach a kind.
pub fn channels(kind: ContactKind) -> &'static [&'static str] {
    match kind {
        ContactKind::Phone => &["sms", "call"],
        ContactKind::Email => &["email"],
        _ => &["push"],
    }
}

pub const POLICY: &str = r#"
version = "model"
[channels.sms]
kinds = ["phone"]
[channels.call]
kinds = ["phone"]
[channels.email]
kinds = ["email"]
[channels.push]
kinds = ["contact_id", "external_id"]
[purposes.marketing]
individual = "opt_in"
merchant = "opt_out"
[purposes.newsletter]
individual = { regime = "opt_in", default_validity_days = 2 }
merchant = "opt_in"
[purposes.service]
individual = "opt_out"
merchant = "opt_in"
[purposes.transactional]
individual = "exempt"
merchant = "exempt"
[brands.main]
[brands.other]
"#;

/// What [`POLICY`] says of each purpose and type.
const RULES: [(&str, Type, Regime, Option<Time>); 8] = [
    ("marketing", Type::Individual, Regime::OptIn, None),
    ("marketing", Type::Merchant, Regime::OptOut, None),
    ("newsletter", Type::Individual, Regime::OptIn, Some(VALIDITY)),
    ("newsletter", Type::Merchant, Regime::OptIn, None),
    ("service", Type::Individual, Regime::OptOut, None),
    ("service", Type::Merchant, Regime::OptIn, None),
    ("transactional", Type::Individual, Regime::Exempt, None),
    ("transactional", Type::Merchant, Regime::Exempt, None),
];

/// The scopes of [`POLICY`], by the kind that they are asked about.
pub fn scopes() -> Vec<(ContactKind, Scope)> {
    let kinds =
        [ContactKind::Phone, ContactKind::Email, ContactKind::ContactId, ContactKind::ExternalId];
    let mut scopes = Vec::new();
    for kind in kinds {
        for (brand, channel) in BRANDS
            .into_iter()
            .flat_map(|brand| channels(kind).iter().map(move |each| (brand, *each)))
        {
            for (purpose, recipient_type, regime, validity) in RULES {
                let scope = Scope { brand, recipient_type, channel, purpose, regime, validity };
                scopes.push((kind, scope));
            }
        }
    }
    scopes
}
