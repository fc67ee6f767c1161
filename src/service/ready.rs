//! When nobody may be told who is permitted (A1).

use tonic::{Code, Status};

use super::{Services, status::status};
use crate::{domain::scope::Scope, engine::view::View, writer::Since};

impl Services {
    /// Refuses to say who is permitted while nobody knows which withdrawals a
    /// restored store has lost (A1).
    pub(super) fn serving(&self) -> Result<(), Status> {
        if self.published.restoration().is_some_and(|restored| restored.is_undecided()) {
            return Err(status(
                Code::Unavailable,
                "RESTORED",
                "the store was restored from a backup, and what was withdrawn since is not known: \
                 replay it, then `sendgate restore accept`. Send to nobody",
            ));
        }
        Ok(())
    }

    /// Refuses what was decided from planes that were damaged (A1).
    pub(super) fn undamaged(&self, since: &Since, scopes: &[Scope]) -> Result<(), Status> {
        if self.published.doubts().allow(since, scopes) {
            return Ok(());
        }
        let what = "a page in memory was damaged and is being rebuilt; ask again";
        Err(status(Code::Unavailable, "NOT_READY", what))
    }

    /// The status for a view that did not become fresh enough in time.
    pub(super) fn not_yet(view: &View) -> Status {
        status(
            Code::Unavailable,
            "NOT_YET",
            format!("the server is at revision {}; try again", view.revision),
        )
    }
}
