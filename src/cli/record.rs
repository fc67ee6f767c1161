//! `record`: records one consent event.

use std::process::ExitCode;

use super::{
    Failure,
    args::{self, ActorArgs, AddressArgs, Type},
    output,
};
use crate::{
    client::Client,
    proto::v1::{
        ActorRole, ConsentEvent, ConsentStatus, Evidence, Notice, RecipientType, RecordRequest,
        StatedTime,
    },
};

/// Arguments of `record`.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("status").required(true).args(["granted", "withdrawn"])))]
pub struct Args {
    /// The contact, in any accepted spelling
    #[arg(allow_hyphen_values = true)]
    address: String,
    /// Permission was given
    #[arg(long, requires_all = ["channel", "purpose", "recipient_type", "at"])]
    granted: bool,
    /// Permission was taken back: of a purpose, without --purpose of the whole
    /// channel, without --channel of everything
    #[arg(long)]
    withdrawn: bool,
    /// The brand that the consent is for
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    #[command(flatten)]
    reading: AddressArgs,
    /// The recipient's type; a withdrawal without it is for both
    #[arg(long = "type", value_enum)]
    recipient_type: Option<Type>,
    /// The channel, such as sms
    #[arg(long)]
    channel: Option<String>,
    /// The purpose, such as marketing
    #[arg(long, requires = "channel")]
    purpose: Option<String>,
    /// When it was given or taken back; a withdrawal without it counts as of now
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    at: Option<StatedTime>,
    /// When the permission ends
    #[arg(long, value_name = "TIME", value_parser = args::time, conflicts_with = "withdrawn")]
    valid_until: Option<StatedTime>,
    /// Where it was collected
    #[arg(long, default_value = "")]
    source: String,
    /// The legal basis
    #[arg(long, default_value = "")]
    legal_basis: String,
    /// The text agreed to
    #[arg(long, default_value = "")]
    notice_id: String,
    /// The version of that text
    #[arg(long, default_value = "")]
    notice_version: String,
    #[command(flatten)]
    actor: ActorArgs,
    /// Who collected it for the brand
    #[arg(long, default_value = "")]
    collected_by: String,
    /// Where the proof is
    #[arg(long, default_value = "")]
    evidence_uri: String,
    /// SHA-256 of the proof, in hexadecimal
    #[arg(long, value_parser = sha256)]
    evidence_sha256: Option<Digest>,
    /// Your identifier of this event; repeating it changes nothing
    #[arg(long, default_value = "")]
    event_key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A SHA-256. A type of its own, because clap takes a bare `Vec` for a list.
#[derive(Clone)]
struct Digest(Vec<u8>);

fn sha256(text: &str) -> Result<Digest, String> {
    crate::formats::parse_sha256(text).map(Digest).ok_or_else(|| "not 64 digits".to_owned())
}

/// Records the event and prints what became of it.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Failure> {
    let json = args.json;
    let request = RecordRequest { events: vec![event(args)] };
    let response = client.consent_service().record(request).await?.into_inner();
    output::event_result(response.results, response.revision.as_ref(), json)
}

fn event(args: Args) -> ConsentEvent {
    let status = if args.granted { ConsentStatus::Granted } else { ConsentStatus::Withdrawn };
    let notice = Notice { id: args.notice_id, version: args.notice_version };
    let sha256 = args.evidence_sha256.map(|digest| digest.0).unwrap_or_default();
    let evidence = Evidence { uri: args.evidence_uri, sha256: sha256.into() };
    ConsentEvent {
        brand: args.brand,
        contact: Some(args.reading.contact(args.address)),
        recipient_type: args.recipient_type.map(RecipientType::from).unwrap_or_default().into(),
        channel: args.channel.unwrap_or_default(),
        purpose: args.purpose.unwrap_or_default(),
        status: status.into(),
        consent_time: args.at,
        valid_until_ms: args.valid_until.map(|end| end.unix_ms),
        source: args.source,
        legal_basis: args.legal_basis,
        notice: Some(notice).filter(|notice| *notice != Notice::default()),
        actor: args.actor.actor(ActorRole::Unspecified),
        collected_by: args.collected_by,
        evidence: Some(evidence).filter(|evidence| *evidence != Evidence::default()),
        event_key: args.event_key,
        registered_with: String::new(),
    }
}
