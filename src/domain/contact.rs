//! Contacts: a kind and a canonical address, or the contact ID that stands for it.

use std::borrow::Cow;

/// What sort of address names a contact. The numbers are stored (A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContactKind {
    /// An E.164 number.
    Phone = 1,
    /// An e-mail address.
    Email = 2,
    /// The caller's own unsigned integer.
    ContactId = 3,
    /// The caller's own opaque string.
    ExternalId = 4,
}

impl ContactKind {
    /// Every kind, by number.
    pub const ALL: [Self; 4] = [Self::Phone, Self::Email, Self::ContactId, Self::ExternalId];

    /// The kind with this stored number.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == tag)
    }

    /// The kind as it is written in policies and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Email => "email",
            Self::ContactId => "contact_id",
            Self::ExternalId => "external_id",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the contact IDs of this kind are the addresses themselves,
    /// rather than ordinals that the directory hands out.
    #[must_use]
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Phone | Self::ContactId)
    }
}

/// A contact by kind and contact ID: the index into the bitmaps of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContactRef {
    /// The kind.
    pub kind: ContactKind,
    /// The phone number, the caller's integer, or the directory's ordinal.
    pub id: u64,
}

/// A canonical address (R1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// The digits of an E.164 number.
    Phone(u64),
    /// A canonical e-mail address.
    Email(String),
    /// The caller's integer.
    ContactId(u64),
    /// The caller's string.
    ExternalId(String),
}

impl Address {
    /// The address's kind.
    #[must_use]
    pub fn kind(&self) -> ContactKind {
        match self {
            Self::Phone(_) => ContactKind::Phone,
            Self::Email(_) => ContactKind::Email,
            Self::ContactId(_) => ContactKind::ContactId,
            Self::ExternalId(_) => ContactKind::ExternalId,
        }
    }

    /// The contact ID of a directly addressed kind.
    #[must_use]
    pub fn direct_id(&self) -> Option<u64> {
        match self {
            Self::Phone(id) | Self::ContactId(id) => Some(*id),
            Self::Email(_) | Self::ExternalId(_) => None,
        }
    }

    /// The canonical text: the digits of an integer, the text itself otherwise.
    #[must_use]
    pub fn canonical(&self) -> Cow<'_, str> {
        match self {
            Self::Phone(id) | Self::ContactId(id) => Cow::Owned(id.to_string()),
            Self::Email(text) | Self::ExternalId(text) => Cow::Borrowed(text),
        }
    }

    /// The text of a kind that the directory resolves.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Email(text) | Self::ExternalId(text) => Some(text),
            Self::Phone(_) | Self::ContactId(_) => None,
        }
    }
}
