//! Arguments that several subcommands take.

use std::str::FromStr;

use jiff::tz::Offset;

use super::Failure;
use crate::{
    client::Client,
    formats::parse_time,
    proto::v1::{
        self, Actor, ActorRole, ContactKind, GetPolicyRequest, RecipientType, Revision, Scope,
        StatedTime,
    },
};

/// What a message is about.
#[derive(clap::Args)]
pub struct ScopeArgs {
    /// The brand that the message goes out for
    #[arg(long, env = "SENDGATE_BRAND")]
    pub brand: String,
    /// The channel, such as sms
    #[arg(long)]
    pub channel: String,
    /// The purpose, such as marketing
    #[arg(long)]
    pub purpose: String,
    /// The recipient's type
    #[arg(long = "type", value_enum, default_value = "individual")]
    pub recipient_type: Type,
}

impl ScopeArgs {
    /// The scope within the brand.
    pub fn scope(&self) -> Scope {
        Scope {
            recipient_type: RecipientType::from(self.recipient_type).into(),
            channel: self.channel.clone(),
            purpose: self.purpose.clone(),
        }
    }
}

/// How addresses are read.
#[derive(clap::Args)]
pub struct AddressArgs {
    /// The kind of address
    #[arg(long, value_enum, default_value = "phone")]
    pub kind: Kind,
    /// Region whose national phone spellings are accepted; '' for none
    #[arg(long, env = "SENDGATE_REGION", default_value = "TR")]
    pub region: String,
}

impl AddressArgs {
    /// The region where it matters: phones.
    pub fn region(&self) -> String {
        if matches!(self.kind, Kind::Phone) { self.region.clone() } else { String::new() }
    }

    /// The contact of an address.
    pub fn contact(&self, address: String) -> v1::Contact {
        v1::Contact {
            kind: ContactKind::from(self.kind).into(),
            address,
            default_region: self.region(),
        }
    }
}

/// Who causes an event.
#[derive(clap::Args)]
pub struct ActorArgs {
    /// In which role somebody causes this
    #[arg(long, value_enum)]
    actor_role: Option<Role>,
    /// Your name for them
    #[arg(long, default_value = "")]
    actor_id: String,
}

impl ActorArgs {
    /// The actor; none if nothing is said, not even by the command itself in
    /// `default_role`.
    pub fn actor(self, default_role: ActorRole) -> Option<Actor> {
        let role = self.actor_role.map_or(default_role, ActorRole::from);
        let actor = Actor { role: role.into(), id: self.actor_id };
        Some(actor).filter(|actor| *actor != Actor::default())
    }
}

/// A role by name.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Role {
    /// The person themself
    Customer,
    /// Somebody who works for the brand
    Staff,
    /// A program of the brand
    System,
    /// A national registry
    Registry,
}

impl From<Role> for ActorRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Customer => Self::Customer,
            Role::Staff => Self::Staff,
            Role::System => Self::System,
            Role::Registry => Self::Registry,
        }
    }
}

/// Who asks.
#[derive(clap::Args)]
pub struct AskerArgs {
    /// Who asks; goes into the server's audit log
    #[arg(long, value_name = "NAME", env = "USER", default_value = "", hide_env_values = true)]
    asked_by: String,
}

impl AskerArgs {
    /// Somebody of the brand's staff, under this name.
    pub fn actor(&self) -> v1::Actor {
        v1::Actor { role: ActorRole::Staff.into(), id: self.asked_by.clone() }
    }
}

/// A revision as it is printed, `EPOCH:REVISION`, or its number alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionArg {
    epoch: Option<String>,
    revision: u64,
}

impl FromStr for RevisionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (epoch, number) = match text.split_once(':') {
            Some((epoch, number)) => (Some(epoch), number),
            None => (None, text),
        };
        let is_epoch =
            |epoch: &str| epoch.len() == 32 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        let revision = number.parse().ok().filter(|_| epoch.is_none_or(is_epoch));
        let revision = revision.ok_or_else(|| {
            "a revision is a number, or EPOCH:NUMBER with 32 hexadecimal digits".to_owned()
        })?;
        Ok(Self { epoch: epoch.map(str::to_lowercase), revision })
    }
}

impl RevisionArg {
    /// The revision; a number alone is meant of this epoch.
    pub fn or_in_epoch(self, epoch: String) -> Revision {
        Revision { epoch: self.epoch.unwrap_or(epoch), revision: self.revision }
    }

    /// The revision; a number alone is meant of the server's present epoch.
    ///
    /// # Errors
    /// The server does not say its epoch.
    pub async fn in_epoch_of(self, client: &Client) -> Result<Revision, Failure> {
        if let Some(epoch) = self.epoch {
            return Ok(Revision { epoch, revision: self.revision });
        }
        let policy = client.admin_service().get_policy(GetPolicyRequest {}).await?.into_inner();
        let epoch = policy.revision.map(|applied| applied.epoch).unwrap_or_default();
        Ok(Revision { epoch, revision: self.revision })
    }
}

/// A recipient type by name.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Type {
    /// A private person
    Individual,
    /// A business
    Merchant,
}

impl From<Type> for RecipientType {
    fn from(value: Type) -> Self {
        match value {
            Type::Individual => Self::Individual,
            Type::Merchant => Self::Merchant,
        }
    }
}

/// A kind of contact by name.
#[derive(Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// A phone number
    Phone,
    /// An e-mail address
    Email,
    /// Your own integer
    ContactId,
    /// Your own string
    ExternalId,
}

impl From<Kind> for ContactKind {
    fn from(value: Kind) -> Self {
        match value {
            Kind::Phone => Self::Phone,
            Kind::Email => Self::Email,
            Kind::ContactId => Self::ContactId,
            Kind::ExternalId => Self::ExternalId,
        }
    }
}

/// Reads a scope: `CHANNEL/PURPOSE`, and `/merchant` behind it if it is not
/// about private persons.
///
/// # Errors
/// The text is no scope.
pub fn scope(text: &str) -> Result<Scope, String> {
    let mut parts = text.split('/');
    let (channel, purpose) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let recipient_type = match (parts.next(), parts.next()) {
        (None | Some("individual"), None) => RecipientType::Individual,
        (Some("merchant"), None) => RecipientType::Merchant,
        _ => RecipientType::Unspecified,
    };
    if channel.is_empty() || purpose.is_empty() || recipient_type == RecipientType::Unspecified {
        return Err("write it as sms/marketing, or as sms/marketing/merchant".to_owned());
    }
    Ok(Scope {
        recipient_type: recipient_type.into(),
        channel: channel.to_owned(),
        purpose: purpose.to_owned(),
    })
}

/// Reads a time argument; without an offset it is UTC.
///
/// # Errors
/// The text is no time.
pub fn time(text: &str) -> Result<StatedTime, String> {
    parse_time(text, Offset::UTC)
        .ok_or_else(|| "neither RFC 3339, YYYY-MM-DD HH:MM:SS nor YYYY-MM-DD".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_channel_a_purpose_and_perhaps_a_type() {
        let read = |text| scope(text).map(|it| (it.recipient_type(), it.channel, it.purpose));
        let sms = |it| Ok((it, "sms".to_owned(), "marketing".to_owned()));
        assert_eq!(read("sms/marketing"), sms(RecipientType::Individual));
        assert_eq!(read("sms/marketing/individual"), sms(RecipientType::Individual));
        assert_eq!(read("sms/marketing/merchant"), sms(RecipientType::Merchant));
        for wrong in ["", "sms", "sms/", "/marketing", "sms/marketing/both", "individual/a/b/c"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_revision_is_read_with_or_without_its_epoch() {
        let epoch = "0123456789abcdef0123456789ABCDEF";
        let with = RevisionArg { epoch: Some(epoch.to_lowercase()), revision: 7 };
        assert_eq!(format!("{epoch}:7").parse(), Ok(with));
        assert_eq!("7".parse(), Ok(RevisionArg { epoch: None, revision: 7 }));
        for text in ["", "x", "-1", ":7", "abc:7", "2026-01-01 10:00:00", "2026-01-01T10:00:00Z"] {
            assert!(text.parse::<RevisionArg>().is_err(), "{text}");
        }
    }
}
