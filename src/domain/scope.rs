//! What a consent or a message is about: brands, recipient types, channels, purposes.
//!
//! Names are interned: a store gives each name a number when a policy first
//! declares it and never reuses the number (A8). Number 0 means "every".

use std::fmt;

/// A brand by number; [`BrandId::ALL`] stands for all brands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrandId(pub u32);

impl BrandId {
    /// Every brand, present and future; only suppressions and erasures use it.
    pub const ALL: Self = Self(0);
}

/// A channel by number; [`ChannelId::ANY`] stands for every channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

impl ChannelId {
    /// Every channel.
    pub const ANY: Self = Self(0);

    /// Whether something said of `self` concerns `channel`.
    #[must_use]
    pub fn covers(self, channel: Self) -> bool {
        self == Self::ANY || self == channel
    }
}

/// A purpose by number; [`PurposeId::ANY`] stands for every purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PurposeId(pub u16);

impl PurposeId {
    /// Every purpose.
    pub const ANY: Self = Self(0);
}

/// Whether the recipient is a private person or acts as a business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecipientType {
    /// A private person.
    Individual = 1,
    /// A merchant.
    Merchant = 2,
}

impl RecipientType {
    /// Both types.
    pub const ALL: [Self; 2] = [Self::Individual, Self::Merchant];

    /// The type as it is written in policies and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::Merchant => "merchant",
        }
    }
}

/// The recipient types that a record speaks of: one, or both (`*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TypeSelector {
    /// Both types; only a withdrawal may say so (R2).
    Any = 0,
    /// Private persons.
    Individual = 1,
    /// Merchants.
    Merchant = 2,
}

impl TypeSelector {
    /// Whether a record of this selector speaks of `recipient_type`.
    #[must_use]
    pub fn covers(self, recipient_type: RecipientType) -> bool {
        self == Self::Any || self == Self::from(recipient_type)
    }

    /// The selector with this stored number.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        [Self::Any, Self::Individual, Self::Merchant].into_iter().find(|each| *each as u8 == tag)
    }
}

impl From<RecipientType> for TypeSelector {
    fn from(recipient_type: RecipientType) -> Self {
        match recipient_type {
            RecipientType::Individual => Self::Individual,
            RecipientType::Merchant => Self::Merchant,
        }
    }
}

/// The level of a consent record (R3): what it names and what it leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level {
    channel: ChannelId,
    purpose: PurposeId,
}

/// How much a level covers, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// One purpose on one channel.
    Purpose,
    /// Every purpose on one channel.
    Channel,
    /// Everything.
    Contact,
}

impl Level {
    /// Everything: "never write to me again".
    pub const CONTACT: Self = Self { channel: ChannelId::ANY, purpose: PurposeId::ANY };

    /// The level that names `channel` and `purpose`, either of which may be
    /// "any"; `None` for a purpose on every channel, which R3 does not know.
    #[must_use]
    pub fn new(channel: ChannelId, purpose: PurposeId) -> Option<Self> {
        let orphan = channel == ChannelId::ANY && purpose != PurposeId::ANY;
        (!orphan).then_some(Self { channel, purpose })
    }

    /// The channel named, or any.
    #[must_use]
    pub fn channel(self) -> ChannelId {
        self.channel
    }

    /// The purpose named, or any.
    #[must_use]
    pub fn purpose(self) -> PurposeId {
        self.purpose
    }

    /// How much the level covers.
    #[must_use]
    pub fn width(self) -> Width {
        match (self.channel, self.purpose) {
            (ChannelId::ANY, _) => Width::Contact,
            (_, PurposeId::ANY) => Width::Channel,
            _ => Width::Purpose,
        }
    }

    /// Whether a record at this level speaks of `channel` and `purpose`.
    #[must_use]
    pub fn covers(self, channel: ChannelId, purpose: PurposeId) -> bool {
        self.channel.covers(channel) && (self.purpose == PurposeId::ANY || self.purpose == purpose)
    }
}

/// A scope: whose message, to what type of recipient, how, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The sender.
    pub brand: BrandId,
    /// The recipient's type.
    pub recipient_type: RecipientType,
    /// The channel; never "any".
    pub channel: ChannelId,
    /// The purpose; never "any".
    pub purpose: PurposeId,
}

/// Whether consent is needed in a scope (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Regime {
    /// Unknown is refused.
    OptIn,
    /// Unknown is permitted.
    OptOut,
    /// Consent is not asked.
    Exempt,
}

impl Regime {
    /// Whether a contact that nothing is known of is permitted.
    #[must_use]
    pub fn permits_unknown(self) -> bool {
        self != Self::OptIn
    }

    /// Whether consents and withdrawals count.
    #[must_use]
    pub fn asks_for_consent(self) -> bool {
        self != Self::Exempt
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OptIn => "opt_in",
            Self::OptOut => "opt_out",
            Self::Exempt => "exempt",
        })
    }
}

/// A scope with what its policy says of it: all that a decision needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeRules {
    /// The scope.
    pub scope: Scope,
    /// Its regime.
    pub regime: Regime,
    /// How long a consent lasts that states no end, in ms; only under `opt_in`.
    pub default_validity: Option<i64>,
    /// Whether a consent that the registry does not hold ends with the time to
    /// register it (R12); only under `opt_in`.
    pub registration_required: bool,
}
