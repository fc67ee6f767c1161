//! The TOML form of a policy, and the checks that make it one.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::{NameClass, Names, Policy, names::MAX_NAME_BYTES};
use crate::domain::{
    contact::ContactKind,
    scope::{BrandId, ChannelId, PurposeId, RecipientType, Regime, Scope, ScopeRules},
};

/// The policy of a new store: one brand, the usual channels and purposes.
pub const STARTER: &str = include_str!("starter.toml");

/// Scopes of a store: each costs a handful of planes in memory (A7).
const MAX_SCOPES: usize = 4_096;
/// Channels, and purposes, of a policy. With both at the cap a contact holds at
/// most 65 × 65 × 3 records (A7).
const MAX_NAMES: usize = 64;
/// Bytes of a policy's text: it travels in one event.
const MAX_TEXT: usize = 1 << 20;
/// Days of a default validity: a century.
const MAX_DAYS: u32 = 36_525;

/// Years of a retention: a century.
const MAX_YEARS: u32 = 100;

const DAY: i64 = 86_400_000;

/// Why a text is not a policy, for the person who wrote it.
#[derive(Debug)]
pub struct PolicyError(String);

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for PolicyError {}

macro_rules! refuse {
    ($($argument:tt)*) => { return Err(PolicyError(format!($($argument)*))) };
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    version: String,
    channels: BTreeMap<String, Channel>,
    purposes: BTreeMap<String, Purpose>,
    brands: BTreeMap<String, Brand>,
    retention: Option<Retention>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retention {
    redact_after_years: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Channel {
    kinds: Vec<String>,
    /// The İYS type whose permissions this channel takes (R12).
    iys: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purpose {
    individual: Option<Rule>,
    merchant: Option<Rule>,
    /// Whether an İYS permission grants this purpose (R12).
    #[serde(default)]
    iys: bool,
    /// "required": without the registry a consent ends with the time to
    /// register it (R12).
    iys_registered: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rule {
    Regime(String),
    Full(FullRule),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullRule {
    regime: String,
    default_validity_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brand {
    channels: Option<Vec<String>>,
    purposes: Option<Vec<String>>,
    #[serde(default)]
    unlinked_kinds: bool,
}

pub(super) fn parse(text: &str) -> Result<Text, PolicyError> {
    if text.len() > MAX_TEXT {
        refuse!("the policy has {} bytes; at most {MAX_TEXT} are accepted", text.len());
    }
    toml::from_str(text).map_err(|error| PolicyError(format!("the policy is not valid: {error}")))
}

impl Text {
    pub(super) fn compile(self, text: &str, mut names: Names) -> Result<Policy, PolicyError> {
        self.check_names()?;
        let mut kinds_of = BTreeMap::new();
        for (name, channel) in &self.channels {
            let id = channel_id(&mut names, name)?;
            kinds_of.insert(id, channel.kinds(name)?);
        }
        self.purposes
            .iter()
            .try_for_each(|(name, purpose)| self.check_registered(name, purpose))?;
        let mut scopes = Vec::new();
        for (brand_name, brand) in &self.brands {
            let brand_id = BrandId(names.intern(NameClass::Brand, brand_name));
            for channel in
                self.used("channels", brand_name, brand.channels.as_ref(), &self.channels)?
            {
                let channel_id = channel_id(&mut names, channel)?;
                let in_iys = self.channels.get(channel).is_some_and(|each| each.iys.is_some());
                let kinds = kinds_of.get(&channel_id).map_or(&[][..], Vec::as_slice);
                brand.check_kinds(brand_name, channel, kinds)?;
                for purpose in
                    self.used("purposes", brand_name, brand.purposes.as_ref(), &self.purposes)?
                {
                    let purpose_id = purpose_id(&mut names, purpose)?;
                    let Some(rules) = self.purposes.get(purpose) else { continue };
                    for recipient_type in RecipientType::ALL {
                        let Some(rule) = rules.rule(recipient_type) else { continue };
                        let (regime, default_validity) = rule.read(purpose, recipient_type)?;
                        scopes.push(ScopeRules {
                            scope: Scope {
                                brand: brand_id,
                                recipient_type,
                                channel: channel_id,
                                purpose: purpose_id,
                            },
                            regime,
                            default_validity,
                            registration_required: in_iys
                                && rules.iys_registered.is_some()
                                && regime == Regime::OptIn,
                        });
                    }
                }
            }
        }
        if scopes.is_empty() {
            refuse!("the policy declares no scope: it needs a brand, a channel and a purpose");
        }
        if scopes.len() > MAX_SCOPES {
            refuse!(
                "the policy makes {} scopes (brands × channels × purposes × types); at most \
                 {MAX_SCOPES} are accepted: list fewer channels or purposes per brand",
                scopes.len()
            );
        }
        let redact_after = self.retention.as_ref().map(Retention::read).transpose()?;
        Ok(Policy::assemble(self.version, text, names, kinds_of, scopes, redact_after))
    }

    fn check_names(&self) -> Result<(), PolicyError> {
        check_name("version", &self.version)?;
        for (class, count) in [("channels", self.channels.len()), ("purposes", self.purposes.len())]
        {
            if count > MAX_NAMES {
                refuse!("the policy declares {count} {class}; at most {MAX_NAMES} are accepted");
            }
        }
        let names = self
            .brands
            .keys()
            .map(|name| ("brand", name))
            .chain(self.channels.keys().map(|name| ("channel", name)))
            .chain(self.purposes.keys().map(|name| ("purpose", name)));
        names.into_iter().try_for_each(|(class, name)| check_name(class, name))
    }

    /// Whether what a purpose says of the registry can mean anything: a typo
    /// must not look like a consent that is watched.
    fn check_registered(&self, name: &str, purpose: &Purpose) -> Result<(), PolicyError> {
        let Some(asked) = &purpose.iys_registered else { return Ok(()) };
        let place = format!("purposes.{name}.iys_registered");
        if asked != "required" {
            refuse!("{place} is \"{asked}\"; the only value is \"required\"");
        }
        if !purpose.iys {
            refuse!(
                "{place} needs iys = true on the purpose: the registry holds no other consents"
            );
        }
        if !self.channels.values().any(|channel| channel.iys.is_some()) {
            refuse!("{place} needs a channel with an iys type (ARAMA, MESAJ or EPOSTA)");
        }
        let mut regimes = RecipientType::ALL.into_iter().filter_map(|each| purpose.rule(each));
        if !regimes.any(|rule| rule.regime() == Regime::OptIn.to_string()) {
            // Elsewhere the end of a consent would only turn a known yes into
            // a refusal.
            refuse!("{place} needs the regime opt_in for individual or merchant");
        }
        Ok(())
    }

    /// The names that a brand uses: those it lists, or all that are declared.
    fn used<'a, T>(
        &self,
        field: &str,
        brand: &str,
        listed: Option<&'a Vec<String>>,
        declared: &'a BTreeMap<String, T>,
    ) -> Result<Vec<&'a str>, PolicyError> {
        let Some(listed) = listed else {
            return Ok(declared.keys().map(String::as_str).collect());
        };
        let mut used: Vec<&str> = Vec::with_capacity(listed.len());
        for name in listed {
            if !declared.contains_key(name) {
                refuse!(
                    "brands.{brand}.{field} lists \"{name}\", which [{field}] does not declare"
                );
            }
            if used.contains(&name.as_str()) {
                refuse!("brands.{brand}.{field} lists \"{name}\" twice");
            }
            used.push(name);
        }
        Ok(used)
    }
}

impl Channel {
    fn kinds(&self, name: &str) -> Result<Vec<ContactKind>, PolicyError> {
        if self.kinds.is_empty() {
            refuse!("channels.{name}.kinds is empty: list phone, email, contact_id or external_id");
        }
        if let Some(iys) = &self.iys
            && !["ARAMA", "MESAJ", "EPOSTA"].contains(&iys.as_str())
        {
            refuse!("channels.{name}.iys is \"{iys}\"; it must be ARAMA, MESAJ or EPOSTA");
        }
        self.kinds
            .iter()
            .map(|kind| {
                ContactKind::from_name(kind).ok_or_else(|| {
                    PolicyError(format!(
                        "channels.{name}.kinds has \"{kind}\"; the kinds are phone, email, \
                         contact_id and external_id"
                    ))
                })
            })
            .collect()
    }
}

impl Retention {
    fn read(&self) -> Result<i64, PolicyError> {
        let years = self.redact_after_years;
        if !(1..=MAX_YEARS).contains(&years) {
            refuse!("retention.redact_after_years is {years}; it must be 1 to {MAX_YEARS}");
        }
        // The longest year, so that nothing goes before its time.
        Ok(i64::from(years) * 366 * DAY)
    }
}

impl Purpose {
    fn rule(&self, recipient_type: RecipientType) -> Option<&Rule> {
        match recipient_type {
            RecipientType::Individual => self.individual.as_ref(),
            RecipientType::Merchant => self.merchant.as_ref(),
        }
    }
}

impl Rule {
    fn regime(&self) -> &str {
        match self {
            Self::Regime(name) => name,
            Self::Full(full) => &full.regime,
        }
    }

    fn read(
        &self,
        purpose: &str,
        recipient_type: RecipientType,
    ) -> Result<(Regime, Option<i64>), PolicyError> {
        let place = format!("purposes.{purpose}.{}", recipient_type.name());
        let name = self.regime();
        let days = match self {
            Self::Regime(_) => None,
            Self::Full(full) => full.default_validity_days,
        };
        let Some(regime) = Regime::from_name(name) else {
            refuse!("{place} is \"{name}\"; the regimes are opt_in, opt_out and exempt");
        };
        match days {
            Some(_) if regime != Regime::OptIn => {
                // Elsewhere the end of a consent would permit nothing more and
                // only turn a known yes into a refusal.
                refuse!("{place}.default_validity_days needs the regime opt_in");
            }
            Some(days) if !(1..=MAX_DAYS).contains(&days) => {
                refuse!("{place}.default_validity_days is {days}; it must be 1 to {MAX_DAYS}");
            }
            _ => Ok((regime, days.map(|days| i64::from(days) * DAY))),
        }
    }
}

impl Brand {
    /// Consent belongs to the address it was given for (R1): where a channel
    /// knows people by address and by the caller's own names, a STOP by one
    /// does not reach the other, and the policy must say that it knows.
    fn check_kinds(
        &self,
        brand: &str,
        channel: &str,
        kinds: &[ContactKind],
    ) -> Result<(), PolicyError> {
        let is_address =
            |kind: &ContactKind| matches!(kind, ContactKind::Phone | ContactKind::Email);
        let mixed = kinds.iter().any(is_address) && !kinds.iter().all(is_address);
        if mixed && !self.unlinked_kinds {
            refuse!(
                "channel \"{channel}\" has both addresses and IDs of your own: an opt-out by phone \
                 would not reach the same person's ID. Split the channel, or set \
                 brands.{brand}.unlinked_kinds = true if you record every opt-out for both"
            );
        }
        Ok(())
    }
}

fn check_name(class: &str, name: &str) -> Result<(), PolicyError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
        refuse!(
            "the {class} \"{}\" must be 1 to {MAX_NAME_BYTES} of the characters A-Z a-z 0-9 - _ .",
            name.chars().take(MAX_NAME_BYTES).collect::<String>()
        );
    }
    Ok(())
}

fn channel_id(names: &mut Names, name: &str) -> Result<ChannelId, PolicyError> {
    u16::try_from(names.intern(NameClass::Channel, name))
        .map(ChannelId)
        .map_err(|_| used_up("channel"))
}

fn purpose_id(names: &mut Names, name: &str) -> Result<PurposeId, PolicyError> {
    u16::try_from(names.intern(NameClass::Purpose, name))
        .map(PurposeId)
        .map_err(|_| used_up("purpose"))
}

fn used_up(class: &str) -> PolicyError {
    PolicyError(format!(
        "this store has used up its 65,535 {class} numbers; numbers are never reused"
    ))
}
