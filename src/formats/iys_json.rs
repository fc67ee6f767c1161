//! `iys-json`: what the daily file says, as the registry's interface returns it.

use serde::Deserialize;

use super::{
    Changes, Defaults, IysMapping, Problem,
    iys::{self, IysRow},
    iys_daily::NAMES,
    text::text,
};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IysObject {
    #[serde(deserialize_with = "text")]
    recipient: String,
    #[serde(deserialize_with = "text")]
    recipient_type: String,
    #[serde(rename = "type", deserialize_with = "text")]
    iys_type: String,
    #[serde(deserialize_with = "text")]
    status: String,
    #[serde(deserialize_with = "text")]
    consent_date: String,
    #[serde(deserialize_with = "text")]
    creation_date: String,
    #[serde(deserialize_with = "text")]
    source: String,
    #[serde(deserialize_with = "text")]
    transaction_id: String,
}

/// Whether an object looks like one of the registry.
pub(super) fn is_object(has: impl Fn(&str) -> bool) -> bool {
    has("recipient") && has("type") && has("status")
}

/// The changes that one object stands for.
pub(super) fn changes(object: &str, mapping: &IysMapping, defaults: &Defaults) -> Changes {
    let object = serde_json::from_str::<IysObject>(object)
        .map_err(|error| Problem::new("row", error.to_string()))?;
    let row = IysRow {
        names: &NAMES,
        registered: true,
        answer: iys::answer(&object.status),
        recipient: &object.recipient,
        recipient_type: &object.recipient_type,
        iys_type: &object.iys_type,
        consent_date: &object.consent_date,
        creation_date: &object.creation_date,
        source: &object.source,
        transaction_id: &object.transaction_id,
    };
    iys::changes(&row, mapping, defaults)
}
