//! The planes of a server, summed up by scope.

use indicatif::BinaryBytes;
use serde_json::{Value, json};

use super::output;
use crate::proto::v1::{PlaneStatistics, Reason};

/// What one scope knows of the contacts of one kind.
pub struct ScopeSummary {
    /// The brand.
    pub brand: String,
    /// The scope, for people.
    scope: String,
    /// The kind.
    pub kind: String,
    /// The permitted; none where everybody is but the refused.
    permitted: Option<u64>,
    /// Known contacts who are refused.
    refused: u64,
    memory_bytes: u64,
}

/// Sums planes up, in the order of the scopes. A scope in which nobody is known
/// has no planes, and is left out.
pub fn summarise(planes: &[PlaneStatistics]) -> Vec<ScopeSummary> {
    let mut scopes: Vec<ScopeSummary> = Vec::new();
    for plane in planes {
        let (scope, kind) = (output::scope(plane.scope.as_ref()), kind(plane));
        // The planes of a scope and kind come one after the other.
        let is_same =
            |it: &ScopeSummary| it.brand == plane.brand && it.scope == scope && it.kind == kind;
        if !scopes.last().is_some_and(is_same) {
            let brand = plane.brand.clone();
            let (permitted, refused, memory_bytes) = (Some(0), 0, 0);
            scopes.push(ScopeSummary { brand, scope, kind, permitted, refused, memory_bytes });
        }
        let Some(summary) = scopes.last_mut() else { continue };
        summary.memory_bytes += plane.memory_bytes;
        match plane.reason() {
            Reason::Permitted => summary.permitted = Some(plane.contacts),
            // The refused of a scope that permits everybody else; each of them
            // is in the plane of a reason too.
            Reason::Unspecified => summary.permitted = None,
            _ => summary.refused += plane.contacts,
        }
    }
    scopes
}

impl ScopeSummary {
    /// A row for people.
    pub fn row(&self) -> String {
        let permitted = match self.permitted {
            Some(permitted) => output::count(permitted),
            None => "all others".to_owned(),
        };
        format!(
            "{:<48}{permitted:>15} permitted{:>15} suppressed{:>12}",
            format!("{} {} {}", self.brand, self.scope, self.kind),
            output::count(self.refused),
            BinaryBytes(self.memory_bytes).to_string(),
        )
    }

    /// The same for programs; `permitted` is null where all others are.
    pub fn json(&self) -> Value {
        json!({
            "brand": self.brand,
            "scope": self.scope,
            "contact_kind": self.kind,
            "permitted": self.permitted,
            "suppressed": self.refused,
            "memory_bytes": self.memory_bytes,
        })
    }
}

/// The name of a plane's contact kind.
pub fn kind(plane: &PlaneStatistics) -> String {
    output::enum_name(plane.contact_kind().as_str_name(), "CONTACT_KIND_").to_lowercase()
}
