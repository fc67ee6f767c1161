//! Which format a file is of, from its header, first row or first object.

use std::io::BufRead;

use super::{
    Format, Opened, cells::column_name, elements::JsonShape, feed, ftc_dnc, hubspot, iys_daily,
    iys_json, iys_upload, mailchimp, mailgun, sendgate, sendgrid, ses, twilio,
};

impl Format {
    /// Recognises a format from the beginning of a file. A list of bare
    /// addresses says nothing of itself, so `Plain` is never recognised.
    #[must_use]
    pub fn recognise<R: BufRead>(opened: &Opened<R>) -> Option<Self> {
        if let Some(shape) = JsonShape::of(opened.head()) {
            return of_object(&shape.first_object(opened.head())?);
        }
        let first = opened.first_fields();
        let fields: Vec<&str> = first.iter().map(|field| field.trim()).collect();
        if ses::is_row(&fields) {
            return Some(Self::SesCsv);
        }
        if ftc_dnc::is_row(&fields) {
            return Some(Self::FtcDnc);
        }
        let names: Vec<String> = fields.into_iter().map(column_name).collect();
        of_header(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn of_header(names: &[&str]) -> Option<Format> {
    let has = |name: &str| names.contains(&name);
    let has_all = |needed: &[&str]| needed.iter().copied().all(has);
    if has_all(&iys_daily::REQUIRED) {
        Some(Format::IysDaily)
    } else if iys_upload::is_header(names) {
        Some(Format::IysUpload)
    } else if mailchimp::is_header(has) {
        Some(Format::Mailchimp)
    } else if has_all(&mailgun::REQUIRED) {
        Some(Format::Mailgun)
    } else if has_all(&sendgrid::REQUIRED) {
        Some(Format::Sendgrid)
    } else if has_all(&sendgate::REQUIRED) {
        Some(Format::SendgateCsv)
    } else if names == ftc_dnc::COLUMNS {
        Some(Format::FtcDnc)
    } else if names == ses::COLUMNS {
        Some(Format::SesCsv)
    } else if names == hubspot::REQUIRED {
        Some(Format::HubspotOptout)
    } else {
        None
    }
}

fn of_object(object: &serde_json::Value) -> Option<Format> {
    let has = |name: &str| object.get(name).is_some();
    if feed::is_object(has) {
        Some(Format::Feed)
    } else if iys_json::is_object(has) {
        Some(Format::IysJson)
    } else if ses::is_object(has) {
        Some(Format::SesJson)
    } else if twilio::is_object(has) {
        Some(Format::TwilioConsent)
    } else if has("address") {
        Some(Format::SendgateJson)
    } else {
        None
    }
}
