//! What all formats share: from the words in a file to the changes on the wire.

use crate::proto::v1::{
    ConsentEvent, ConsentStatus, Contact, ContactKind, ImportItem, Reason, RecipientType,
    StatedTime, Suppression, import_item,
};

use super::{Changes, Problem};

const SHA256_BYTES: usize = 32;
/// The server takes 1,024 bytes, and a character has four at most. A longer
/// remark must not cost the opt-out that it explains.
const NOTE_CHARACTERS: usize = 256;

/// What the command line says for rows that do not say it themselves.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The brand of the import; empty if every row names its own.
    pub brand: String,
    /// The kind of addresses.
    pub kind: ContactKind,
    /// Region whose national phone spellings are accepted.
    pub region: String,
    /// The recipient type; unspecified if not said.
    pub recipient_type: RecipientType,
    /// The channel; empty if not said.
    pub channel: String,
    /// The purpose; empty if not said.
    pub purpose: String,
    /// When grants without a time of their own were given.
    pub consented_at: Option<StatedTime>,
    /// When suppressions without an end of their own end, in ms.
    pub expires_at_ms: Option<i64>,
}

impl Defaults {
    /// The channel of a format that is about one, unless another is named.
    pub(super) fn channel_or<'a>(&'a self, usual: &'a str) -> &'a str {
        or_default(&self.channel, usual)
    }

    /// An event of a file from elsewhere, still without status and time.
    pub(super) fn event(&self, contact: Contact, channel: &str, source: &str) -> ConsentEvent {
        ConsentEvent {
            brand: self.brand.clone(),
            contact: Some(contact),
            channel: channel.to_owned(),
            source: source.to_owned(),
            ..Default::default()
        }
    }

    /// Completes a grant by what the command line says, and checks it.
    pub(super) fn grant(&self, event: ConsentEvent, time: Option<StatedTime>) -> Changes {
        let event = ConsentEvent {
            recipient_type: self.recipient_type.into(),
            purpose: self.purpose.clone(),
            status: ConsentStatus::Granted.into(),
            consent_time: time.or(self.consented_at),
            ..event
        };
        check_grant(&event)?;
        Ok(vec![consent(event)])
    }

    /// Completes a withdrawal: for both types and, unless the event names its
    /// purpose, for the whole channel.
    pub(super) fn withdrawal(&self, event: ConsentEvent, time: Option<StatedTime>) -> ImportItem {
        let status = ConsentStatus::Withdrawn.into();
        consent(ConsentEvent { status, consent_time: time, ..event })
    }

    /// A suppression of a file from elsewhere.
    pub(super) fn suppression(
        &self,
        contact: Contact,
        channel: &str,
        reason: Reason,
        since: Option<StatedTime>,
        source: &str,
    ) -> Suppression {
        Suppression {
            brand: self.brand.clone(),
            contact: Some(contact),
            channel: channel.to_owned(),
            reason: reason.into(),
            since,
            expires_at_ms: self.expires_at_ms,
            source: source.to_owned(),
            ..Default::default()
        }
    }
}

/// A remark that fits, with what a row said in words of its own.
pub(super) fn note(text: &str) -> String {
    text.chars().take(NOTE_CHARACTERS).collect()
}

/// What a row does to its contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Permission was given.
    Granted,
    /// Permission was taken back.
    Withdrawn,
    /// A reason not to send that is no consent choice.
    Suppressed(Reason),
}

impl Status {
    /// Reads `granted`, `withdrawn` or the name of a reason such as
    /// `hard_bounce`, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.trim().to_ascii_uppercase().replace('-', "_");
        match name.as_str() {
            "GRANTED" => Some(Self::Granted),
            "WITHDRAWN" => Some(Self::Withdrawn),
            _ => Reason::from_str_name(&format!("REASON_{name}"))
                .filter(|reason| is_suppression(*reason))
                .map(Self::Suppressed),
        }
    }
}

/// Whether a reason is one that an entry can be set for.
fn is_suppression(reason: Reason) -> bool {
    (Reason::LegalBlock as i32..=Reason::SoftBounce as i32).contains(&(reason as i32))
}

/// The name of a reason as people read it, such as `NO_CONSENT`.
#[must_use]
pub fn reason_name(reason: Reason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("REASON_").unwrap_or(name)
}

/// Reads a kind of contact.
pub(super) fn parse_kind(text: &str) -> Option<ContactKind> {
    ContactKind::from_str_name(&format!("CONTACT_KIND_{}", text.to_ascii_uppercase()))
        .filter(|kind| *kind != ContactKind::Unspecified)
}

/// Reads a recipient type, in our words or those of İYS.
pub(super) fn parse_recipient_type(text: &str) -> Option<RecipientType> {
    match text.to_ascii_uppercase().as_str() {
        "INDIVIDUAL" | "BIREYSEL" => Some(RecipientType::Individual),
        "MERCHANT" | "TACIR" => Some(RecipientType::Merchant),
        _ => None,
    }
}

/// Reads a SHA-256 in hexadecimal; empty stays empty.
#[must_use]
pub fn parse_sha256(text: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8; 2]| {
        // `from_str_radix` would take a sign.
        let digits = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        u8::from_str_radix(digits, 16).ok()
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digest: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    digest.filter(|digest| rest.is_empty() && matches!(digest.len(), 0 | SHA256_BYTES))
}

/// The first text that says something.
pub(super) fn or_default<'a>(own: &'a str, default: &'a str) -> &'a str {
    if own.is_empty() { default } else { own }
}

/// A contact, from an address as it stands in this field of a file.
pub(super) fn contact(
    field: &str,
    kind: ContactKind,
    address: &str,
    region: &str,
) -> Result<Contact, Problem> {
    if address.is_empty() {
        return Err(Problem::new(field, "the row has no address"));
    }
    let default_region = if kind == ContactKind::Phone { region.to_owned() } else { String::new() };
    Ok(Contact { kind: kind.into(), address: address.to_owned(), default_region })
}

/// Refuses a grant that would permit more than its row says. The server
/// refuses it as well; here the problem names the column of the file.
pub(super) fn check_grant(event: &ConsentEvent) -> Result<(), Problem> {
    if event.status() != ConsentStatus::Granted {
        return Ok(());
    }
    let named = |text: &str| !matches!(text, "" | "*");
    if !named(&event.purpose) {
        Err(Problem::new("purpose", "a grant must name its purpose (or use --purpose)"))
    } else if !named(&event.channel) {
        Err(Problem::new("channel", "a grant must name its channel (or use --channel)"))
    } else if event.recipient_type() == RecipientType::Unspecified {
        Err(Problem::new("recipient_type", "a grant must name its recipient type (or use --type)"))
    } else if event.consent_time.is_none() {
        Err(Problem::new("consent_time", "a grant needs a time (or use --consented-at)"))
    } else {
        Ok(())
    }
}

/// Wraps a consent event for an import.
pub(super) fn consent(event: ConsentEvent) -> ImportItem {
    ImportItem { change: Some(import_item::Change::Consent(event)) }
}

/// Wraps a suppression for an import.
pub(super) fn suppression(suppression: Suppression) -> ImportItem {
    ImportItem { change: Some(import_item::Change::Suppression(suppression)) }
}
