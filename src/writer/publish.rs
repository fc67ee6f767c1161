//! Where the current view hangs for everybody to see.

use std::sync::Arc;

use super::{
    books::Books,
    doubt::Doubts,
    sync::{ArcSwap, watch},
};
use crate::{engine::view::View, store::Restored};

/// The current view, and a way to wait for a later one.
pub struct Published {
    view: ArcSwap<View>,
    revision: watch::Sender<u64>,
    restored: tokio::sync::watch::Sender<Option<Restored>>,
    doubts: Arc<Doubts>,
}

impl Published {
    /// Begins with the view of these books.
    #[must_use]
    pub fn of(books: &Books) -> Self {
        Self::new(books.view.clone(), books.restored, Arc::clone(&books.doubts))
    }

    pub(super) fn new(view: View, restored: Option<Restored>, doubts: Arc<Doubts>) -> Self {
        let revision = watch::Sender::new(view.revision);
        let restored = tokio::sync::watch::Sender::new(restored);
        Self { view: ArcSwap::from_pointee(view), revision, restored, doubts }
    }

    /// The current view. One batch loads it once (A11).
    #[must_use]
    pub fn load(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Replaces the view; only the writer does (A4).
    pub(super) fn publish(&self, view: View) {
        let revision = view.revision;
        // Before anybody is told of it: whoever has waited loads it next.
        self.view.store(Arc::new(view));
        self.revision.send_if_modified(|current| {
            let newer = revision > *current;
            *current = revision;
            newer
        });
    }

    /// Waits until the view has this revision. The caller bounds the wait.
    pub async fn reached(&self, revision: u64) {
        // The sender lives as long as `self`, so waiting cannot fail.
        drop(self.revision.subscribe().wait_for(|current| *current >= revision).await);
    }

    /// The scopes whose planes are damaged. Whoever answers begins here, then
    /// loads the view, and asks again before the answer goes out.
    #[must_use]
    pub fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// Where the store comes from, if it was restored from a backup.
    #[must_use]
    pub fn restoration(&self) -> Option<Restored> {
        *self.restored.borrow()
    }

    /// Tells what was decided on the loss of a restored store.
    pub(super) fn restored(&self, restored: Restored) {
        self.restored.send_replace(Some(restored));
    }

    /// Waits until nothing is undecided about the loss of a restored store.
    pub async fn decided(&self) {
        let undecided = |it: &Option<Restored>| it.is_some_and(|it| it.is_undecided());
        drop(self.restored.subscribe().wait_for(|restored| !undecided(restored)).await);
    }
}
