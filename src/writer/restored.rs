//! A restored store: what is decided on its loss.

use super::{books::Books, outcome::WriteError, publish::Published};
use crate::store::{Batch, Loss, Restored};

impl Books {
    /// Notes what an operator decided on the loss of a restored store, and
    /// lets it be served.
    ///
    /// # Errors
    /// There is nothing to decide, the revision is not one that could be lost,
    /// or the disk failed (A10).
    pub(super) fn accept_restore(
        &mut self,
        loss: Loss,
        published: &Published,
    ) -> Result<u64, WriteError> {
        let refused = |what: String| Err(WriteError::NotRestored(what));
        let Some(restored) = self.restored.filter(Restored::is_undecided) else {
            return refused("no decision is due: this store serves already".to_owned());
        };
        let (Loss::ReplayedTo(revision) | Loss::AcceptedSince(revision)) = loss else {
            return refused("say what became of the events after the backup".to_owned());
        };
        if revision < restored.former_revision {
            return refused(format!(
                "revision {revision} lies before the backup, which holds everything up to revision \
                 {} of the former epoch: name that one or a later one",
                restored.former_revision
            ));
        }
        let restored = Restored { loss, ..restored };
        let mut batch = Batch::new(&self.store);
        batch.restored(&restored)?;
        batch.commit()?;
        self.restored = Some(restored);
        published.restored(restored);
        Ok(self.tip.revision)
    }
}
