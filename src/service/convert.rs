//! From the wire to the domain: everything is checked once, on receipt, into
//! types that cannot be wrong.

use std::fmt;

use super::refusal::Refusal;
use crate::{
    caps,
    domain::{
        address::{
            Accept, AddressError, Region, read_contact_id, read_email, read_external_id, read_phone,
        },
        contact::{Address, ContactKind},
        event::{
            Actor, ActorRole, Change, ChangeKind, Consent, Evidence, Lift, Notice, Suppression,
            may_lift,
        },
        policy::{NameClass, NotDeclared, Policy},
        reason::Reason,
        scope::{BrandId, ChannelId, Level, PurposeId, RecipientType, TypeSelector, Width},
        state::Status,
        time::{PLAUSIBLE, Precision, StatedTime},
    },
    proto::v1::{self, RejectCode},
};

type Checked<T> = Result<T, Refusal>;

/// The contact kind of a wire value.
pub(super) fn kind(value: i32, field: &str) -> Checked<ContactKind> {
    match v1::ContactKind::try_from(value) {
        Ok(v1::ContactKind::Phone) => Ok(ContactKind::Phone),
        Ok(v1::ContactKind::Email) => Ok(ContactKind::Email),
        Ok(v1::ContactKind::ContactId) => Ok(ContactKind::ContactId),
        Ok(v1::ContactKind::ExternalId) => Ok(ContactKind::ExternalId),
        Ok(v1::ContactKind::Unspecified) | Err(_) => {
            Err(Refusal::invalid(field, "state the kind: phone, email, contact_id or external_id"))
        }
    }
}

/// The recipient type of a wire value. The field's name is written out only for
/// an error: `Check` asks this for each recipient.
pub(super) fn recipient_type(value: i32, field: fmt::Arguments<'_>) -> Checked<RecipientType> {
    selector(value, field)?.1.ok_or_else(|| {
        let what = "state the recipient type: individual or merchant";
        Refusal::invalid(&field.to_string(), what)
    })
}

fn selector(
    value: i32,
    field: impl fmt::Display,
) -> Checked<(TypeSelector, Option<RecipientType>)> {
    match v1::RecipientType::try_from(value) {
        Ok(v1::RecipientType::Unspecified) => Ok((TypeSelector::Any, None)),
        Ok(v1::RecipientType::Individual) => {
            Ok((TypeSelector::Individual, Some(RecipientType::Individual)))
        }
        Ok(v1::RecipientType::Merchant) => {
            Ok((TypeSelector::Merchant, Some(RecipientType::Merchant)))
        }
        Err(_) => {
            let what = "this recipient type is unknown to the server";
            Err(Refusal::invalid(&field.to_string(), what))
        }
    }
}

/// The region of national phone spellings; none if the text is empty.
pub(super) fn region(text: &str, field: &str) -> Checked<Option<Region>> {
    if text.is_empty() {
        return Ok(None);
    }
    let region = text.parse::<Region>();
    region.map(Some).map_err(|error| Refusal::invalid(field, error.to_string()))
}

/// The canonical address of a contact.
pub(super) fn address(contact: Option<&v1::Contact>, accept: Accept) -> Checked<Address> {
    let contact = contact.ok_or_else(|| Refusal::invalid("contact", "name the contact"))?;
    let kind = kind(contact.kind, "contact.kind")?;
    let region = region(&contact.default_region, "contact.default_region")?;
    read_address(kind, &contact.address, region, accept).map_err(|error| {
        Refusal::new(RejectCode::InvalidAddress, "contact.address", error.to_string())
    })
}

/// The canonical address that a text spells.
pub(super) fn read_address(
    kind: ContactKind,
    text: &str,
    region: Option<Region>,
    accept: Accept,
) -> Result<Address, AddressError> {
    let text = text.as_bytes();
    match kind {
        ContactKind::Phone => read_phone(text, region, accept).map(Address::Phone),
        ContactKind::ContactId => read_contact_id(text).map(Address::ContactId),
        ContactKind::Email => {
            let mut buffer = String::new();
            read_email(text, &mut buffer).map(|text| Address::Email(text.to_owned()))
        }
        ContactKind::ExternalId => {
            read_external_id(text).map(|text| Address::ExternalId(text.to_owned()))
        }
    }
}

/// A consent event.
pub(super) fn consent(policy: &Policy, event: v1::ConsentEvent) -> Checked<Change> {
    let status = match event.status() {
        v1::ConsentStatus::Granted => Status::Granted,
        v1::ConsentStatus::Withdrawn => Status::Withdrawn,
        v1::ConsentStatus::Unspecified => {
            return Err(Refusal::invalid("status", "state granted or withdrawn"));
        }
    };
    let granted = status == Status::Granted;
    let accept = if granted { Accept::Valid } else { Accept::Possible };
    let address = address(event.contact.as_ref(), accept)?;
    let brand = policy.brand(&event.brand)?;
    let channel = channel(policy, brand, &event.channel, address.kind())?;
    let purpose = match any(&event.purpose) {
        None => PurposeId::ANY,
        Some(name) => policy.purpose(brand, name)?,
    };
    let level = Level::new(channel, purpose)
        .ok_or_else(|| Refusal::invalid("channel", "a purpose needs a channel"))?;
    let (selector, recipient_type) = selector(event.recipient_type, "recipient_type")?;
    if granted {
        if level.width() != Width::Purpose {
            return Err(Refusal::invalid(
                "purpose",
                "a grant names its channel and its purpose; only withdrawals may leave them out",
            ));
        }
        let Some(recipient_type) = recipient_type else {
            return Err(Refusal::invalid(
                "recipient_type",
                "a grant names its recipient type: individual or merchant",
            ));
        };
        policy.scope(&event.brand, recipient_type, &event.channel, &event.purpose)?;
    } else if event.valid_until_ms.is_some() {
        return Err(Refusal::invalid("valid_until_ms", "a withdrawal has no end"));
    }
    if event.valid_until_ms.is_some_and(|end| !PLAUSIBLE.contains(&end)) {
        return Err(Refusal::invalid(
            "valid_until_ms",
            "give milliseconds since 1970, before 2300",
        ));
    }
    let notice = event.notice.unwrap_or_default();
    let evidence = event.evidence.unwrap_or_default();
    if !matches!(evidence.sha256.len(), 0 | 32) {
        return Err(Refusal::invalid("evidence.sha256", "give 32 bytes, or none"));
    }
    Ok(Change {
        brand,
        address,
        stated: stated(event.consent_time, granted, "consent_time")?,
        source: text(event.source, "source", caps::TEXT_BYTES)?,
        actor: actor(event.actor)?,
        event_key: text(event.event_key, "event_key", caps::KEY_BYTES)?,
        rectification: 0,
        kind: ChangeKind::Consent(Consent {
            selector,
            level,
            status,
            valid_until: event.valid_until_ms,
            legal_basis: text(event.legal_basis, "legal_basis", caps::TEXT_BYTES)?,
            notice: Notice {
                id: text(notice.id, "notice.id", caps::TEXT_BYTES)?,
                version: text(notice.version, "notice.version", caps::TEXT_BYTES)?,
            },
            collected_by: text(event.collected_by, "collected_by", caps::TEXT_BYTES)?,
            evidence: Evidence {
                uri: text(evidence.uri, "evidence.uri", caps::NOTE_BYTES)?,
                sha256: evidence.sha256.to_vec(),
            },
            registered_with: text(event.registered_with, "registered_with", caps::TEXT_BYTES)?,
        }),
    })
}

/// A suppression.
pub(super) fn suppression(policy: &Policy, entry: v1::Suppression) -> Checked<Change> {
    let reason = suppression_reason(entry.reason)?;
    let address = address(entry.contact.as_ref(), Accept::Possible)?;
    let brand = brand_or_all(policy, &entry.brand)?;
    let channel = channel(policy, brand, &entry.channel, address.kind())?;
    let expires_at = match entry.expires_at_ms {
        None | Some(0) if reason == Reason::SoftBounce => {
            return Err(Refusal::invalid("expires_at_ms", "a soft bounce needs its end"));
        }
        Some(end) if !PLAUSIBLE.contains(&end) => {
            if reason == Reason::SoftBounce {
                return Err(Refusal::invalid(
                    "expires_at_ms",
                    "give milliseconds since 1970, before 2300",
                ));
            }
            // A suppression is never refused for its time: an end that makes
            // no sense is none.
            None
        }
        // Zero comes from clients that know no absent fields.
        end => end.filter(|end| *end != 0),
    };
    Ok(Change {
        brand,
        address,
        stated: stated(entry.since, false, "since")?,
        source: text(entry.source, "source", caps::TEXT_BYTES)?,
        actor: actor(entry.actor)?,
        event_key: text(entry.event_key, "event_key", caps::KEY_BYTES)?,
        rectification: 0,
        kind: ChangeKind::Suppression(Suppression {
            channel,
            reason,
            expires_at,
            note: text(entry.note, "note", caps::NOTE_BYTES)?,
        }),
    })
}

/// A lift.
pub(super) fn lift(policy: &Policy, lift: v1::Lift) -> Checked<Change> {
    let reason = if lift.reason() == v1::Reason::Erased {
        // The mark of an erasure is lifted like an entry for every channel.
        if any(&lift.channel).is_some() {
            return Err(Refusal::invalid("channel", "an erasure concerns every channel"));
        }
        Reason::Erased
    } else {
        suppression_reason(lift.reason)?
    };
    let actor = actor(lift.actor)?;
    if !may_lift(actor.role, reason) {
        return Err(Refusal::new(
            RejectCode::NotAllowed,
            "actor.role",
            format!("this role may not lift {}; see the table of suppressions", reason.name()),
        ));
    }
    let address = address(lift.contact.as_ref(), Accept::Possible)?;
    let brand = brand_or_all(policy, &lift.brand)?;
    Ok(Change {
        brand,
        stated: stated(lift.time, true, "time")?,
        source: text(lift.source, "source", caps::TEXT_BYTES)?,
        actor,
        event_key: text(lift.event_key, "event_key", caps::KEY_BYTES)?,
        rectification: 0,
        kind: ChangeKind::Lift(Lift {
            channel: channel(policy, brand, &lift.channel, address.kind())?,
            reason,
            note: text(lift.note, "note", caps::NOTE_BYTES)?,
        }),
        address,
    })
}

fn suppression_reason(value: i32) -> Checked<Reason> {
    u8::try_from(value)
        .ok()
        .and_then(Reason::from_tag)
        .filter(|reason| reason.is_suppression() && *reason != Reason::Erased)
        .ok_or_else(|| {
            Refusal::invalid("reason", "give a suppression, from LEGAL_BLOCK to SOFT_BOUNCE")
        })
}

fn any(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty() && *name != "*")
}

pub(super) fn brand_or_all(policy: &Policy, name: &str) -> Checked<BrandId> {
    if name == "*" { Ok(BrandId::ALL) } else { Ok(policy.brand(name)?) }
}

/// The channel of this name, which must reach contacts of this kind.
fn channel(policy: &Policy, brand: BrandId, name: &str, kind: ContactKind) -> Checked<ChannelId> {
    let Some(name) = any(name) else { return Ok(ChannelId::ANY) };
    let channel = if brand == BrandId::ALL {
        policy
            .names()
            .channel(name)
            .filter(|channel| !policy.kinds(*channel).is_empty())
            .ok_or_else(|| NotDeclared::new(NameClass::Channel, name, None))?
    } else {
        policy.channel(brand, name)?
    };
    if policy.kinds(channel).contains(&kind) {
        Ok(channel)
    } else {
        Err(Refusal::invalid(
            "contact.kind",
            format!("channel \"{name}\" does not reach contacts of kind {}", kind.name()),
        ))
    }
}

/// A time as stated. Opt-outs are never refused for theirs: a time that makes
/// no sense counts as not stated.
fn stated(time: Option<v1::StatedTime>, permits: bool, field: &str) -> Checked<Option<StatedTime>> {
    let Some(time) = time else { return Ok(None) };
    let precision = match v1::Precision::try_from(time.precision) {
        Ok(v1::Precision::Unspecified | v1::Precision::Millisecond) => Some(Precision::Millisecond),
        Ok(v1::Precision::Second) => Some(Precision::Second),
        Ok(v1::Precision::Minute) => Some(Precision::Minute),
        Ok(v1::Precision::Day) => Some(Precision::Day),
        Err(_) => None,
    };
    match precision.filter(|_| PLAUSIBLE.contains(&time.unix_ms)) {
        Some(precision) => Ok(Some(StatedTime { unix_ms: time.unix_ms, precision })),
        None if permits => Err(Refusal::invalid(
            field,
            "give milliseconds since 1970, between 1900 and 2300, and a known precision",
        )),
        None => Ok(None),
    }
}

pub(super) fn actor(actor: Option<v1::Actor>) -> Checked<Actor> {
    let actor = actor.unwrap_or_default();
    let role = match v1::ActorRole::try_from(actor.role) {
        Ok(v1::ActorRole::Unspecified) => ActorRole::Unstated,
        Ok(v1::ActorRole::System) => ActorRole::System,
        Ok(v1::ActorRole::Customer) => ActorRole::Customer,
        Ok(v1::ActorRole::Staff) => ActorRole::Staff,
        Ok(v1::ActorRole::Registry) => ActorRole::Registry,
        Err(_) => return Err(Refusal::invalid("actor.role", "this role is unknown to the server")),
    };
    Ok(Actor { role, id: text(actor.id, "actor.id", caps::TEXT_BYTES)? })
}

/// Who asks; goes into the audit log.
pub(super) fn asked_by(asker: Option<v1::Actor>) -> Checked<Actor> {
    actor(asker).map_err(|refusal| Refusal {
        field: refusal.field.replacen("actor", "asked_by", 1),
        ..refusal
    })
}

pub(super) fn text(text: String, field: &str, cap: usize) -> Checked<String> {
    if text.len() <= cap {
        Ok(text)
    } else {
        Err(Refusal::invalid(
            field,
            format!("has {} bytes; at most {cap} are accepted", text.len()),
        ))
    }
}
