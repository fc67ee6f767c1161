//! Files that users bring: consent and suppression imports, one file per
//! format, and the rows of recipient lists.
//!
//! An import never re-permits somebody silently: a grant without a time, a
//! purpose or a recipient type, its own or given on the command line, is
//! rejected. A withdrawal is never refused for its time or type, and what the
//! command line says never narrows the withdrawal of a row.

mod cells;
mod elements;
mod encoding;
mod event;
mod feed;
mod ftc_dnc;
mod hubspot;
mod items;
mod iys;
mod iys_daily;
mod iys_json;
mod iys_rows;
mod iys_upload;
mod mailchimp;
mod mailgun;
mod mapping;
mod plain;
mod recognise;
mod rows;
mod sendgate;
mod sendgrid;
mod ses;
mod sheet;
mod text;
mod time;
mod twilio;

use std::collections::BTreeSet;

pub use self::{
    cells::column_name,
    event::{Defaults, Status, parse_sha256, reason_name},
    items::{ItemReader, ItemRow},
    iys::{REGISTRY, REGISTRY_PREFIX},
    iys_rows::{DailyRow, DailyRows},
    mapping::{IysMapping, MappingError, purposes_of},
    rows::{Opened, Row, Rows, Shape},
    sheet::{SheetError, is_workbook, sheet_to_csv},
    time::{last_ms, parse_time},
};
use crate::proto::v1::{ImportItem, RejectCode};

/// A format of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The daily file of İYS, the Turkish registry.
    IysDaily,
    /// The same as JSON objects.
    IysJson,
    /// What a sender is about to upload to İYS.
    IysUpload,
    /// The fields of a consent event as CSV.
    SendgateCsv,
    /// The fields of a consent event as JSON objects.
    SendgateJson,
    /// The suppression list of Amazon SES.
    SesCsv,
    /// The same as JSON objects.
    SesJson,
    /// The suppressions of SendGrid.
    Sendgrid,
    /// The unsubscribes of Mailgun.
    Mailgun,
    /// One of the files of a Mailchimp audience export.
    Mailchimp,
    /// The opt-outs of HubSpot.
    HubspotOptout,
    /// The items of Twilio's consent management.
    TwilioConsent,
    /// The national do-not-call list of the USA.
    FtcDnc,
    /// The change feed of another server.
    Feed,
    /// One address a line; what it means is said on the command line.
    Plain,
}

impl Format {
    /// The format's name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IysDaily => "iys-daily",
            Self::IysJson => "iys-json",
            Self::IysUpload => "iys-upload",
            Self::SendgateCsv => "sendgate (CSV)",
            Self::SendgateJson => "sendgate (JSON)",
            Self::SesCsv => "ses (CSV)",
            Self::SesJson => "ses (JSON)",
            Self::Sendgrid => "sendgrid",
            Self::Mailgun => "mailgun",
            Self::Mailchimp => "mailchimp",
            Self::HubspotOptout => "hubspot-optout",
            Self::TwilioConsent => "twilio-consent",
            Self::FtcDnc => "ftc-dnc",
            Self::Feed => "feed",
            Self::Plain => "plain",
        }
    }
}

/// What is needed to turn the rows of a format into changes.
#[derive(Debug)]
pub enum Meaning {
    /// Rows of the İYS daily file, with the channels that the policy maps.
    IysDaily(IysMapping),
    /// The same as JSON objects.
    IysJson(IysMapping),
    /// Rows to be uploaded to İYS.
    IysUpload(IysMapping),
    /// Rows of the CSV form of `sendgate`.
    SendgateCsv,
    /// Rows of the JSON form of `sendgate`.
    SendgateJson,
    /// Rows of the CSV form of `ses`.
    SesCsv,
    /// Rows of the JSON form of `ses`.
    SesJson,
    /// Rows of SendGrid.
    Sendgrid,
    /// Rows of Mailgun, with the purposes of the brand.
    Mailgun(BTreeSet<String>),
    /// Rows of Mailchimp.
    Mailchimp,
    /// Rows of HubSpot.
    HubspotOptout,
    /// Items of Twilio.
    TwilioConsent,
    /// Rows of the do-not-call list.
    FtcDnc,
    /// Events of a change feed, with the versions of the policies that were
    /// applied here.
    Feed(BTreeSet<String>),
    /// Bare addresses that all mean the same.
    Plain(Status),
}

/// Why a row cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field concerned, by its name in the file.
    pub field: String,
    /// What kind of rejection, in the words of the server's own.
    pub code: RejectCode,
    /// What is wrong, for a person.
    pub reason: String,
}

impl Problem {
    fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), code: RejectCode::InvalidArgument, reason: reason.into() }
    }
}

/// One row of an import: the changes that it stands for, or why there are none.
pub type Changes = Result<Vec<ImportItem>, Problem>;

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod tests;
