//! Members of JSON objects whose writers disagree about their types.

use serde::{Deserialize, Deserializer};

/// Reads a member as text: a phone number may stand as a number, and a missing
/// value as null. A refusal must not be lost over that.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    })
}
