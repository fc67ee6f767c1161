//! The words of the model: what is said, of whom, and what the policy makes of it.

use sendgate::proto::v1::{Reason, RejectCode};

pub type Time = i64;

const SECOND: Time = 1_000;
const MINUTE: Time = 60 * SECOND;
pub const DAY: Time = 24 * 60 * MINUTE;
/// A grant may be stated this far ahead (R2).
const AHEAD: Time = 5 * MINUTE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Individual,
    Merchant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Millisecond,
    Second,
    Minute,
    Day,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    pub at: Time,
    pub precision: Precision,
}

impl Stated {
    pub fn first(self) -> Time {
        match self.precision {
            // The caller says where its own day begins.
            Precision::Millisecond | Precision::Day => self.at,
            Precision::Second => self.at.div_euclid(SECOND) * SECOND,
            Precision::Minute => self.at.div_euclid(MINUTE) * MINUTE,
        }
    }

    pub fn last(self) -> Time {
        let length = match self.precision {
            Precision::Millisecond => 1,
            Precision::Second => SECOND,
            Precision::Minute => MINUTE,
            Precision::Day => DAY,
        };
        self.first() + length - 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Customer,
    Staff,
    System,
}

/// What an event names; `None` is `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub channel: Option<&'static str>,
    pub purpose: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Consent { granted: bool, types: Option<Type>, level: Level, until: Option<Time> },
    Suppression { channel: Option<&'static str>, reason: Reason, end: Option<Time> },
    Lift { channel: Option<&'static str>, reason: Reason },
}

/// One event in the caller's words; the same words again are a repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `None` is all brands.
    pub brand: Option<&'static str>,
    /// The person's place in the population.
    pub who: usize,
    pub what: What,
    pub time: Option<Stated>,
    pub key: &'static str,
    pub source: &'static str,
    pub role: Role,
    /// 0 for a caller's words. What the server says in somebody's place carries
    /// the revision of the act that made it, and so repeats nothing.
    pub origin: u64,
}

impl Said {
    /// Whether it can only take permission away.
    pub fn only_suppresses(&self) -> bool {
        matches!(self.what, What::Consent { granted: false, .. } | What::Suppression { .. })
    }

    /// What a key is scoped by, besides brand and contact (R2).
    fn level_and_status(&self) -> (Level, u8) {
        let channel_level = |channel| Level { channel, purpose: None };
        match self.what {
            What::Consent { granted, level, .. } => (level, u8::from(granted)),
            What::Suppression { channel, .. } => (channel_level(channel), 2),
            What::Lift { channel, .. } => (channel_level(channel), 3),
        }
    }

    /// Whether equal keys of the two are the same key.
    pub fn shares_key_scope(&self, other: &Self) -> bool {
        self.brand == other.brand
            && self.who == other.who
            && self.level_and_status() == other.level_and_status()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    OptIn,
    OptOut,
    Exempt,
}

/// A scope, with what the policy says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub brand: &'static str,
    pub recipient_type: Type,
    pub channel: &'static str,
    pub purpose: &'static str,
    pub regime: Regime,
    pub validity: Option<Time>,
}

/// A row of the table of R7; the order of the rows is the rank.
pub struct Row {
    pub reason: Reason,
    /// Not so ERASED (R11): under opt_in the contact is simply unknown.
    pub blocks_opt_in: bool,
    pub blocks_exempt: bool,
    pub ended_by_grant: bool,
    pub lifted_by: &'static [Role],
}

const fn row(
    reason: Reason,
    blocks_exempt: bool,
    ended_by_grant: bool,
    lifted_by: &'static [Role],
) -> Row {
    let blocks_opt_in = !matches!(reason, Reason::Erased);
    Row { reason, blocks_opt_in, blocks_exempt, ended_by_grant, lifted_by }
}

pub const TABLE: [Row; 10] = [
    row(Reason::Erased, true, true, &[Role::Staff, Role::System]),
    row(Reason::LegalBlock, true, false, &[Role::Staff]),
    row(Reason::Restricted, true, false, &[Role::Staff]),
    row(Reason::InvalidAddress, true, false, &[Role::Staff, Role::System]),
    row(Reason::LineClosed, true, true, &[Role::Staff, Role::System]),
    row(Reason::HardBounce, true, false, &[Role::Staff, Role::System]),
    row(Reason::SpamComplaint, true, true, &[Role::Staff, Role::System]),
    row(Reason::ManualBlock, true, false, &[Role::Staff]),
    row(Reason::Objected, false, true, &[Role::Staff]),
    row(Reason::SoftBounce, true, false, &[Role::System]),
];

pub fn row_of(reason: Reason) -> &'static Row {
    TABLE.iter().find(|row| row.reason == reason).unwrap()
}

/// What R2, R3 and R7 ask of an event on its own.
pub fn shape(said: &Said) -> Result<(), RejectCode> {
    let is_wrong = match &said.what {
        What::Consent { granted: true, types, level, .. } => {
            types.is_none()
                || level.channel.is_none()
                || level.purpose.is_none()
                || said.time.is_none()
        }
        What::Consent { granted: false, level, until, .. } => {
            until.is_some() || (level.channel.is_none() && level.purpose.is_some())
        }
        What::Suppression { reason: Reason::Erased, .. }
        | What::Lift { reason: Reason::Erased, channel: Some(_) } => true,
        What::Suppression { reason, end, .. } => *reason == Reason::SoftBounce && end.is_none(),
        What::Lift { reason, .. } => {
            if !row_of(*reason).lifted_by.contains(&said.role) {
                return Err(RejectCode::NotAllowed);
            }
            said.time.is_none()
        }
    };
    if is_wrong { Err(RejectCode::InvalidArgument) } else { Ok(()) }
}

/// The time that the rules compare (R2).
pub fn stored_time(said: &Said, recorded: Time) -> Result<Time, RejectCode> {
    match said.time {
        None => Ok(recorded),
        Some(stated) if said.only_suppresses() => Ok(stated.last().min(recorded)),
        Some(stated) if stated.first() > recorded + AHEAD => Err(RejectCode::TimeAhead),
        Some(stated) => Ok(stated.first().min(recorded)),
    }
}
