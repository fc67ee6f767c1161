//! Suppression entries: what setting and lifting one have in common.

use std::process::ExitCode;

use jiff::Timestamp;

use super::{
    Failure,
    args::{ActorArgs, AddressArgs},
    output,
};
use crate::{
    client::Client,
    formats::{Status, last_ms},
    proto::v1::{
        ActorRole, Lift, LiftRequest, Precision, Reason, StatedTime, SuppressRequest, Suppression,
    },
};

/// Which entry, and who speaks of it.
#[derive(clap::Args)]
pub struct EntryArgs {
    /// The contact, in any accepted spelling
    #[arg(allow_hyphen_values = true)]
    address: String,
    /// The brand of the entry; '*' for all brands
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    /// The channel of the entry, such as sms; without it, the entry for every
    /// channel
    #[arg(long, default_value = "")]
    channel: String,
    #[command(flatten)]
    reading: AddressArgs,
    /// Where this comes from
    #[arg(long, default_value = "")]
    source: String,
    /// A remark for those who read the history
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    actor: ActorArgs,
    /// Your identifier of this event; repeating it changes nothing
    #[arg(long, default_value = "")]
    event_key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl EntryArgs {
    /// Sets the entry and prints what became of it.
    pub async fn suppress(
        self,
        client: &Client,
        reason: Reason,
        since: Option<StatedTime>,
        expires_at: Option<StatedTime>,
        default_role: ActorRole,
    ) -> Result<ExitCode, Failure> {
        let entry = Suppression {
            brand: self.brand,
            contact: Some(self.reading.contact(self.address)),
            channel: self.channel,
            reason: reason.into(),
            since,
            expires_at_ms: expires_at.map(last_ms),
            source: self.source,
            note: self.note,
            actor: self.actor.actor(default_role),
            event_key: self.event_key,
        };
        let request = SuppressRequest { suppressions: vec![entry] };
        let response = client.consent_service().suppress(request).await?.into_inner();
        output::event_result(response.results, response.revision.as_ref(), self.json)
    }

    /// Lifts the entry, as of now if no time is given, and prints what became
    /// of it.
    pub async fn lift(
        self,
        client: &Client,
        reason: Reason,
        time: Option<StatedTime>,
        default_role: ActorRole,
    ) -> Result<ExitCode, Failure> {
        let lift = Lift {
            brand: self.brand,
            contact: Some(self.reading.contact(self.address)),
            channel: self.channel,
            reason: reason.into(),
            time: Some(time.unwrap_or_else(now)),
            source: self.source,
            note: self.note,
            actor: self.actor.actor(default_role),
            event_key: self.event_key,
        };
        let request = LiftRequest { lifts: vec![lift] };
        let response = client.consent_service().lift(request).await?.into_inner();
        output::event_result(response.results, response.revision.as_ref(), self.json)
    }
}

fn now() -> StatedTime {
    StatedTime {
        unix_ms: Timestamp::now().as_millisecond(),
        precision: Precision::Millisecond.into(),
    }
}

/// Reads the reason of an entry.
///
/// # Errors
/// The text names none.
pub fn reason(text: &str) -> Result<Reason, String> {
    match Status::parse(text) {
        Some(Status::Suppressed(reason)) => Ok(reason),
        _ => Err("no suppression reason, such as hard-bounce or manual-block".to_owned()),
    }
}
