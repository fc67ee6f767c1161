//! From the ledger to the wire.

use crate::{
    domain::{
        contact::Address,
        event::{Actor, Change, ChangeKind},
        policy::Policy,
        scope::{BrandId, ChannelId, TypeSelector},
        state::Status,
    },
    proto::v1::{self, ledger_record::Event, numbered_name::Name},
    reader::{Content, Record},
};

/// A record as callers see it. `policy` lends its names.
pub(super) fn ledger_record(policy: &Policy, record: Record) -> v1::LedgerRecord {
    let mut found = v1::LedgerRecord {
        revision: record.revision,
        recorded_time_ms: record.recorded_time,
        effective_time_ms: record.recorded_time,
        rectification: 0,
        redacted: false,
        erasure_marks: Vec::new(),
        erasure_names: Vec::new(),
        event: None,
    };
    found.event = record.content.map(|content| match content {
        Content::Change(stored) => {
            found.effective_time_ms = stored.effective_time;
            found.rectification = stored.change.rectification;
            found.redacted = stored.redacted.is_some();
            event(policy, stored.change)
        }
        Content::Erasure(erasure) => Event::Erasure(v1::Erasure {
            brand: brand(policy, erasure.brand),
            contact: None,
            source: erasure.source,
            note: erasure.note,
            actor: Some(actor(erasure.actor)),
        }),
        Content::Policy(policy_version, applied) => Event::Policy(v1::PolicyChange {
            policy_version,
            actor: Some(actor(applied.actor)),
            note: applied.note,
        }),
        Content::Redaction(events) => Event::Redaction(v1::Redaction { events }),
    });
    found
}

/// The marks that an erasure left, for a feed that may show every brand: they
/// hold what survived in each of them. And what the numbers in them stand for.
pub(super) fn erasure_marks(
    policy: &Policy,
    record: &Record,
) -> (Vec<v1::ErasureMark>, Vec<v1::NumberedName>) {
    let Some(Content::Erasure(erasure)) = &record.content else { return Default::default() };
    let remains = &erasure.remains;
    let marks = remains.iter().map(|each| v1::ErasureMark {
        fingerprint: each.fingerprint.to_be_bytes().to_vec().into(),
        mark: each.encode_mark().into(),
    });
    // In all brands nothing says of which one each of the other marks is.
    let mut brands: Vec<BrandId> = match erasure.brand {
        BrandId::ALL if remains.len() > 1 => policy.names().brands().collect(),
        BrandId::ALL => Vec::new(),
        brand => vec![brand],
    };
    brands.sort_unstable();
    let survivors = remains.iter().flat_map(|each| &each.mark.survivors);
    let mut channels: Vec<ChannelId> = survivors.map(|entry| entry.channel).collect();
    channels.retain(|channel| *channel != ChannelId::ANY);
    channels.sort_unstable();
    channels.dedup();
    let brands = brands.into_iter().map(|brand| v1::NumberedName {
        number: brand.0,
        name: Some(Name::OfBrand(policy.brand_name(brand).to_owned())),
    });
    let channels = channels.into_iter().map(|channel| v1::NumberedName {
        number: channel.0.into(),
        name: Some(Name::OfChannel(policy.channel_name(channel).to_owned())),
    });
    (marks.collect(), brands.chain(channels).collect())
}

fn actor(actor: Actor) -> v1::Actor {
    v1::Actor { role: actor.role as i32, id: actor.id }
}

fn event(policy: &Policy, change: Change) -> Event {
    let contact = Some(contact(&change.address));
    let brand = brand(policy, change.brand);
    let stated = change.stated.map(|stated| v1::StatedTime {
        unix_ms: stated.unix_ms,
        precision: stated.precision as i32,
    });
    let actor = Some(actor(change.actor));
    let (source, event_key) = (change.source, change.event_key);
    match change.kind {
        ChangeKind::Consent(consent) => Event::Consent(v1::ConsentEvent {
            brand,
            contact,
            recipient_type: match consent.selector {
                TypeSelector::Any => v1::RecipientType::Unspecified,
                TypeSelector::Individual => v1::RecipientType::Individual,
                TypeSelector::Merchant => v1::RecipientType::Merchant,
            }
            .into(),
            channel: policy.channel_name(consent.level.channel()).to_owned(),
            purpose: policy.purpose_name(consent.level.purpose()).to_owned(),
            status: match consent.status {
                Status::Granted => v1::ConsentStatus::Granted,
                Status::Withdrawn => v1::ConsentStatus::Withdrawn,
            }
            .into(),
            consent_time: stated,
            valid_until_ms: consent.valid_until,
            source,
            legal_basis: consent.legal_basis,
            notice: Some(v1::Notice { id: consent.notice.id, version: consent.notice.version }),
            actor,
            collected_by: consent.collected_by,
            evidence: Some(v1::Evidence {
                uri: consent.evidence.uri,
                sha256: consent.evidence.sha256.into(),
            }),
            event_key,
            registered_with: consent.registered_with,
        }),
        ChangeKind::Suppression(suppression) => Event::Suppression(v1::Suppression {
            brand,
            contact,
            channel: policy.channel_name(suppression.channel).to_owned(),
            reason: suppression.reason as i32,
            since: stated,
            expires_at_ms: suppression.expires_at,
            source,
            note: suppression.note,
            actor,
            event_key,
        }),
        ChangeKind::Lift(lift) => Event::Lift(v1::Lift {
            brand,
            contact,
            channel: policy.channel_name(lift.channel).to_owned(),
            reason: lift.reason as i32,
            time: stated,
            source,
            note: lift.note,
            actor,
            event_key,
        }),
    }
}

fn brand(policy: &Policy, brand: BrandId) -> String {
    policy.brand_name(brand).to_owned()
}

fn contact(address: &Address) -> v1::Contact {
    v1::Contact {
        kind: address.kind() as i32,
        address: address_text(address),
        default_region: String::new(),
    }
}

/// An address as callers see it: phones with their plus sign, so that no region
/// is needed to read them.
pub(super) fn address_text(address: &Address) -> String {
    match address {
        Address::Phone(number) => format!("+{number}"),
        _ => address.canonical().into_owned(),
    }
}
