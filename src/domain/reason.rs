//! Verdicts and the reasons that decide them (R9).

/// The verdict on one contact in one scope: permitted, or why not.
///
/// The numbers are those of the wire and of the disk; they are never reused
/// (A8). Among suppressions the smaller number is the stronger reason (R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is described in proto/sendgate/v1/types.proto")]
pub enum Reason {
    Permitted = 1,
    InvalidRecipient = 2,
    Erased = 3,
    LegalBlock = 4,
    Restricted = 5,
    InvalidAddress = 6,
    LineClosed = 7,
    HardBounce = 8,
    SpamComplaint = 9,
    ManualBlock = 10,
    Objected = 11,
    SoftBounce = 12,
    ContactOptOut = 13,
    ChannelOptOut = 14,
    OptedOut = 15,
    Expired = 16,
    NoConsent = 17,
    Duplicate = 18,
}

impl Reason {
    /// One more than the greatest number: the size of a table by reason.
    pub const TABLE: usize = 19;

    /// Every reason, by number.
    pub const ALL: [Self; 18] = [
        Self::Permitted,
        Self::InvalidRecipient,
        Self::Erased,
        Self::LegalBlock,
        Self::Restricted,
        Self::InvalidAddress,
        Self::LineClosed,
        Self::HardBounce,
        Self::SpamComplaint,
        Self::ManualBlock,
        Self::Objected,
        Self::SoftBounce,
        Self::ContactOptOut,
        Self::ChannelOptOut,
        Self::OptedOut,
        Self::Expired,
        Self::NoConsent,
        Self::Duplicate,
    ];

    /// The reason with this number.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == tag)
    }

    /// Whether planes cache this reason. The others follow from the recipient
    /// itself, from the stream, or from the absence of any record.
    #[must_use]
    pub fn has_plane(self) -> bool {
        self.is_suppression()
            || matches!(
                self,
                Self::ContactOptOut | Self::ChannelOptOut | Self::OptedOut | Self::Expired
            )
    }

    /// Whether the reason is a suppression of R7, ERASED included.
    #[must_use]
    pub fn is_suppression(self) -> bool {
        (Self::Erased..=Self::SoftBounce).contains(&self)
    }

    /// Whether the suppression speaks of the person rather than of the address:
    /// another address of theirs does not escape it.
    #[must_use]
    pub fn concerns_person(self) -> bool {
        matches!(
            self,
            Self::LegalBlock
                | Self::Restricted
                | Self::SpamComplaint
                | Self::ManualBlock
                | Self::Objected
        )
    }

    /// The reason's name on the wire, without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Permitted => "PERMITTED",
            Self::InvalidRecipient => "INVALID_RECIPIENT",
            Self::Erased => "ERASED",
            Self::LegalBlock => "LEGAL_BLOCK",
            Self::Restricted => "RESTRICTED",
            Self::InvalidAddress => "INVALID_ADDRESS",
            Self::LineClosed => "LINE_CLOSED",
            Self::HardBounce => "HARD_BOUNCE",
            Self::SpamComplaint => "SPAM_COMPLAINT",
            Self::ManualBlock => "MANUAL_BLOCK",
            Self::Objected => "OBJECTED",
            Self::SoftBounce => "SOFT_BOUNCE",
            Self::ContactOptOut => "CONTACT_OPT_OUT",
            Self::ChannelOptOut => "CHANNEL_OPT_OUT",
            Self::OptedOut => "OPTED_OUT",
            Self::Expired => "EXPIRED",
            Self::NoConsent => "NO_CONSENT",
            Self::Duplicate => "DUPLICATE",
        }
    }
}
