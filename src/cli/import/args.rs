//! The arguments of an import, and what they make of a file.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    cli::{
        Failure,
        args::{self, AddressArgs, Type},
        files::Input,
    },
    client::Client,
    formats::{Defaults, Format, IysMapping, Meaning, Opened, Status, last_ms, purposes_of},
    proto::v1::{ContactKind, GetPolicyRequest, ListPoliciesRequest, RecipientType, StatedTime},
};

/// Arguments of `import`.
#[derive(clap::Args)]
pub struct Args {
    /// The file, text or an Excel sheet (.xlsx); - for standard input
    pub file: PathBuf,
    /// Its format
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatArg,
    /// The sheet of an .xlsx file; the first one if not said
    #[arg(long, value_name = "NAME")]
    pub sheet: Option<String>,
    /// The brand that the rows are for; sendgate rows may name their own
    #[arg(long, env = "SENDGATE_BRAND", default_value = "")]
    brand: String,
    #[command(flatten)]
    pub reading: AddressArgs,
    /// plain: what each address means: granted, withdrawn or a suppression
    /// reason such as hard-bounce
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// The channel of grants that name none, of plain rows, and of formats
    /// that are about one channel
    #[arg(long, default_value = "")]
    channel: String,
    /// The purpose of grants that name none, and of plain rows
    #[arg(long, default_value = "")]
    purpose: String,
    /// The recipient type of grants that name none, and of plain rows
    #[arg(long = "type", value_enum)]
    recipient_type: Option<Type>,
    /// The time of grants that name none
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    consented_at: Option<StatedTime>,
    /// The end of suppressions that name none
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    expires_at: Option<StatedTime>,
    /// Where to report rows that were not imported: line, field, reason and row
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Only say what would become of the rows; record nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go on with this line of the file: an import that was cut short says which
    #[arg(long, value_name = "LINE", default_value_t = 1)]
    pub from_line: u64,
    /// Print the counts as JSON
    #[arg(long)]
    pub json: bool,
}

/// A format by name.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    /// Recognise it from the header or the first row
    Auto,
    /// The daily file of İYS, the Turkish registry
    IysDaily,
    /// The same as JSON objects
    IysJson,
    /// What is about to be uploaded to İYS: IZIN TURU, ALICI, ONAY(1)-RET(0)
    IysUpload,
    /// The fields of a consent event as CSV or JSON objects
    Sendgate,
    /// Amazon SES's suppression list, as CSV or JSON objects
    Ses,
    /// SendGrid's unsubscribes, bounces, spam reports or invalid addresses
    Sendgrid,
    /// Mailgun's unsubscribes
    Mailgun,
    /// A file of a Mailchimp audience export
    Mailchimp,
    /// HubSpot's opt-outs
    HubspotOptout,
    /// Items of Twilio's consent management
    TwilioConsent,
    /// The national do-not-call list of the USA
    FtcDnc,
    /// The change feed of another server, as `sendgate watch` prints it
    Feed,
    /// One address a line; --status says what it means
    Plain,
}

fn status(text: &str) -> Result<Status, String> {
    Status::parse(text).ok_or_else(|| {
        "neither granted, withdrawn nor a suppression reason such as hard-bounce".to_owned()
    })
}

impl Args {
    /// The format, as said or recognised.
    pub fn recognise(&self, opened: &Opened<Input>) -> Result<Format, Failure> {
        let recognised = Format::recognise(opened);
        let either = |csv, json| if opened.is_json() { json } else { csv };
        Ok(match self.format {
            FormatArg::IysDaily => Format::IysDaily,
            FormatArg::IysJson => Format::IysJson,
            FormatArg::IysUpload => Format::IysUpload,
            FormatArg::Sendgate => either(Format::SendgateCsv, Format::SendgateJson),
            FormatArg::Ses => either(Format::SesCsv, Format::SesJson),
            FormatArg::Sendgrid => Format::Sendgrid,
            FormatArg::Mailgun => Format::Mailgun,
            FormatArg::Mailchimp => Format::Mailchimp,
            FormatArg::HubspotOptout => Format::HubspotOptout,
            FormatArg::TwilioConsent => Format::TwilioConsent,
            FormatArg::FtcDnc => Format::FtcDnc,
            FormatArg::Feed => Format::Feed,
            FormatArg::Plain => Format::Plain,
            // --status means bare addresses, but not in a file that says more.
            FormatArg::Auto if self.status.is_some() && recognised.is_none() => Format::Plain,
            FormatArg::Auto => recognised.ok_or_else(|| {
                Failure::usage(
                    "the format cannot be recognised from the first line, so nothing was \
                     imported; name it with --format",
                )
            })?,
        })
    }

    /// What the rows of a format mean; some need the policy for that.
    pub async fn meaning(&self, client: &Client, format: Format) -> Result<Meaning, Failure> {
        if self.status.is_some() && format != Format::Plain {
            return Err(Failure::usage("--status is for files of bare addresses (--format plain)"));
        }
        let names_brand =
            matches!(format, Format::SendgateCsv | Format::SendgateJson | Format::Feed);
        if !names_brand && self.brand.is_empty() {
            return Err(Failure::usage("the rows name no brand; say it with --brand"));
        }
        Ok(match format {
            Format::IysDaily => Meaning::IysDaily(self.mapping(client).await?),
            Format::IysJson => Meaning::IysJson(self.mapping(client).await?),
            Format::IysUpload => Meaning::IysUpload(self.mapping(client).await?),
            Format::SendgateCsv => Meaning::SendgateCsv,
            Format::SendgateJson => Meaning::SendgateJson,
            Format::SesCsv => Meaning::SesCsv,
            Format::SesJson => Meaning::SesJson,
            Format::Sendgrid => Meaning::Sendgrid,
            Format::Mailgun => Meaning::Mailgun(purposes_of(&policy(client).await?, &self.brand)?),
            Format::Mailchimp => Meaning::Mailchimp,
            Format::HubspotOptout => Meaning::HubspotOptout,
            Format::TwilioConsent => Meaning::TwilioConsent,
            Format::FtcDnc => Meaning::FtcDnc,
            Format::Feed => Meaning::Feed(policies(client).await?),
            Format::Plain => Meaning::Plain(self.plain_status()?),
        })
    }

    async fn mapping(&self, client: &Client) -> Result<IysMapping, Failure> {
        Ok(IysMapping::from_policy(&policy(client).await?, &self.brand)?)
    }

    fn plain_status(&self) -> Result<Status, Failure> {
        let Some(status) = self.status else {
            return Err(Failure::usage("say what the addresses mean with --status"));
        };
        status.check(&self.defaults()).map_err(|problem| {
            Failure::usage(format!("every row would be rejected: {}", problem.reason))
        })?;
        Ok(status)
    }

    /// What the command line says for rows that do not say it themselves.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            brand: self.brand.clone(),
            kind: ContactKind::from(self.reading.kind),
            region: self.reading.region.clone(),
            recipient_type: self.recipient_type.map(RecipientType::from).unwrap_or_default(),
            channel: self.channel.clone(),
            purpose: self.purpose.clone(),
            consented_at: self.consented_at,
            expires_at_ms: self.expires_at.map(last_ms),
        }
    }
}

/// The text of the policy in force.
async fn policy(client: &Client) -> Result<String, Failure> {
    Ok(client.admin_service().get_policy(GetPolicyRequest {}).await?.into_inner().toml)
}

/// The versions of all policies that were applied.
async fn policies(client: &Client) -> Result<BTreeSet<String>, Failure> {
    let applied = client.admin_service().list_policies(ListPoliciesRequest {}).await?.into_inner();
    Ok(applied.policies.into_iter().map(|policy| policy.policy_version).collect())
}
