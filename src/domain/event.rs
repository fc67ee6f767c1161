//! Events: what callers may record, checked, with addresses read and names resolved.

use super::{
    contact::Address,
    reason::Reason,
    scope::{BrandId, ChannelId, Level, TypeSelector},
    state::Status,
    time::StatedTime,
};

/// The role in which somebody caused an event. The numbers are stored (A8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ActorRole {
    /// Nobody said. Such an actor lifts nothing.
    #[default]
    Unstated = 0,
    /// The person themself.
    Customer = 1,
    /// Somebody who works for the brand.
    Staff = 2,
    /// A program of the brand.
    System = 3,
    /// A national registry.
    Registry = 4,
}

impl ActorRole {
    /// The role as logs name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unstated => "unstated",
            Self::Customer => "customer",
            Self::Staff => "staff",
            Self::System => "system",
            Self::Registry => "registry",
        }
    }

    /// The role with this stored number.
    #[must_use]
    pub fn from_tag(tag: i32) -> Option<Self> {
        [Self::Unstated, Self::Customer, Self::Staff, Self::System, Self::Registry]
            .into_iter()
            .find(|each| *each as i32 == tag)
    }
}

/// Who caused an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// In which role.
    pub role: ActorRole,
    /// The caller's name for them; may be empty.
    pub id: String,
}

/// The text that a person agreed to. Both parts may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// The text's name.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// Where the proof of an event is kept. Both parts may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Address of the document.
    pub uri: String,
    /// Its SHA-256, 32 bytes, or nothing.
    pub sha256: Vec<u8>,
}

/// The Turkish registry's name in events that it holds (R12).
const IYS: &str = "iys";

/// Consent given or withdrawn (R2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The types it speaks of; [`TypeSelector::Any`] for withdrawals only.
    pub selector: TypeSelector,
    /// Its level; [`super::scope::Width::Purpose`] for every grant (R3).
    pub level: Level,
    /// Given or withdrawn.
    pub status: Status,
    /// The end of a grant, in ms.
    pub valid_until: Option<i64>,
    /// The legal basis.
    pub legal_basis: String,
    /// The text agreed to.
    pub notice: Notice,
    /// The party that collected it.
    pub collected_by: String,
    /// Where the proof is.
    pub evidence: Evidence,
    /// The national registry that holds the consent; empty for none.
    pub registered_with: String,
}

impl Consent {
    /// Whether İYS holds the consent. Another registry does not stand for it (A1).
    #[must_use]
    pub fn is_in_iys(&self) -> bool {
        self.registered_with.eq_ignore_ascii_case(IYS)
    }
}

/// A suppression set (R7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// The channel, or any.
    pub channel: ChannelId,
    /// Why; never ERASED.
    pub reason: Reason,
    /// When it ends by itself, in ms.
    pub expires_at: Option<i64>,
    /// A remark.
    pub note: String,
}

/// A suppression lifted (R7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lift {
    /// The channel of the entry, or any.
    pub channel: ChannelId,
    /// The reason of the entry.
    pub reason: Reason,
    /// A remark.
    pub note: String,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Consent given or withdrawn.
    Consent(Consent),
    /// A suppression set.
    Suppression(Suppression),
    /// A suppression lifted.
    Lift(Lift),
}

/// A change to one contact, checked and ready to be decided on by the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The brand; [`BrandId::ALL`] for suppressions and lifts only.
    pub brand: BrandId,
    /// The contact's canonical address.
    pub address: Address,
    /// The time as stated, if any was.
    pub stated: Option<StatedTime>,
    /// Where it comes from.
    pub source: String,
    /// Who caused it.
    pub actor: Actor,
    /// The caller's identifier of the event; empty for none.
    pub event_key: String,
    /// The event of the rectification that this one belongs to; 0 for none.
    pub rectification: u64,
    /// What it does.
    pub kind: ChangeKind,
}

/// How far ahead of the recording a grant may be stated, in ms (R2).
pub const GRANT_AHEAD: i64 = 5 * 60 * 1_000;

/// Why a change has no stored time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// A grant or a lift without a time.
    Missing,
    /// A grant or a lift stated further ahead than [`GRANT_AHEAD`].
    Ahead,
}

impl Change {
    /// Whether the change can only ever take permission away. Such a change is
    /// never refused for its time or its key (R2).
    #[must_use]
    pub fn only_suppresses(&self) -> bool {
        match &self.kind {
            ChangeKind::Consent(consent) => consent.status == Status::Withdrawn,
            ChangeKind::Suppression(_) => true,
            ChangeKind::Lift(_) => false,
        }
    }

    /// The time that the rules will compare (R2), for an event recorded at
    /// `recorded`.
    ///
    /// # Errors
    /// For grants and lifts, which permit: stated too far ahead, or not at all.
    pub fn effective_time(&self, recorded: i64) -> Result<i64, TimeError> {
        let only_suppresses = self.only_suppresses();
        let Some(stated) = self.stated else {
            return if only_suppresses { Ok(recorded) } else { Err(TimeError::Missing) };
        };
        if only_suppresses {
            return Ok(stated.last().min(recorded));
        }
        let first = stated.first();
        if first > recorded.saturating_add(GRANT_AHEAD) {
            return Err(TimeError::Ahead);
        }
        Ok(first.min(recorded))
    }

    /// Whether the stored time is the recording's rather than the caller's, so
    /// that the same words at another hour mean another event.
    #[must_use]
    pub fn time_is_ours(&self, effective: i64) -> bool {
        self.stated.is_none_or(|stated| {
            let own = if self.only_suppresses() { stated.last() } else { stated.first() };
            own != effective
        })
    }
}

/// Whether this role may lift this reason (R7). A registry and a customer lift
/// nothing: the one has no lifts, the other gives a new consent.
#[must_use]
pub fn may_lift(role: ActorRole, reason: Reason) -> bool {
    match reason {
        Reason::LegalBlock | Reason::Restricted | Reason::ManualBlock | Reason::Objected => {
            role == ActorRole::Staff
        }
        Reason::SoftBounce => role == ActorRole::System,
        Reason::Erased
        | Reason::InvalidAddress
        | Reason::LineClosed
        | Reason::HardBounce
        | Reason::SpamComplaint => {
            matches!(role, ActorRole::Staff | ActorRole::System)
        }
        _ => false,
    }
}
