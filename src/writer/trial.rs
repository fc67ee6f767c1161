//! What would become of changes: decided on as for a commit, and dropped.

use rand::rngs::StdRng;

use super::{
    books::Books,
    group::Group,
    item::Item,
    outcome::{Committed, Outcome, WriteError},
};

impl Books {
    /// Decides on changes against the books as they are. Nothing is written,
    /// and the view stays as it is.
    ///
    /// # Errors
    /// The disk failed: nothing may be acknowledged any more (A10).
    pub(super) fn try_out(
        &mut self,
        mut items: Vec<Item>,
        salts: &mut StdRng,
    ) -> Result<Committed, WriteError> {
        let now = self.advance()?;
        self.identify(&mut items);
        let mut group = Group::read(self, &items, now)?;
        let outcomes: Vec<Outcome> = items.iter().map(|item| group.decide(item, salts)).collect();
        Ok(Committed { outcomes, revision: self.tip.revision })
    }
}
