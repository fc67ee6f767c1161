//! Arguments that several subcommands take.

use jiff::tz::Offset;

use crate::{
    formats::parse_time,
    proto::v1::{self, Actor, ActorRole, ContactKind, RecipientType, Scope, StatedTime},
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
}
