//! What a server knows of each scope, and the names of its planes.

use indicatif::BinaryBytes;
use serde_json::{Map, Value, json};

use super::output;
use crate::proto::v1::{ContactKind, PlaneStatistics, ScopeStatistics};

/// What one scope knows of the contacts of one kind, as a row for people.
pub fn scope_row(scope: &ScopeStatistics) -> String {
    let permitted = match scope.permitted {
        Some(permitted) => output::count(permitted),
        None => "all others".to_owned(),
    };
    let name = output::scope(scope.scope.as_ref());
    format!(
        "{:<48}{permitted:>15} permitted{:>15} suppressed{:>12}",
        format!("{} {name} {}", scope.brand, kind(scope.contact_kind())),
        output::count(scope.suppressed),
        BinaryBytes(scope.memory_bytes).to_string(),
    )
}

/// The same for programs; `permitted` is null where all others are.
pub fn scope_json(scope: &ScopeStatistics) -> Value {
    let reasons = scope.reasons.iter().map(|it| {
        let name = output::plane_name(it.reason()).to_owned();
        (name, Value::from(it.count))
    });
    json!({
        "brand": scope.brand,
        "scope": output::scope(scope.scope.as_ref()),
        "contact_kind": kind(scope.contact_kind()),
        "permitted": scope.permitted,
        "suppressed": scope.suppressed,
        "reasons": reasons.collect::<Map<String, Value>>(),
        "memory_bytes": scope.memory_bytes,
    })
}

/// Where the contacts of a plane are refused: a scope, or `all scopes` of the
/// brand that ask for consent.
pub fn area(plane: &PlaneStatistics) -> String {
    match &plane.scope {
        Some(scope) => output::scope(Some(scope)),
        None => "all scopes".to_owned(),
    }
}

/// The name of a contact kind.
pub fn kind(kind: ContactKind) -> String {
    output::enum_name(kind.as_str_name(), "CONTACT_KIND_").to_lowercase()
}
