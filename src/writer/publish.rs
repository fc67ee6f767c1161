//! Where the current view hangs for everybody to see.

use std::sync::Arc;

use super::sync::{ArcSwap, watch};
use crate::engine::view::View;

/// The current view, and a way to wait for a later one.
pub struct Published {
    view: ArcSwap<View>,
    revision: watch::Sender<u64>,
}

impl Published {
    /// Begins with this view.
    #[must_use]
    pub fn new(view: View) -> Self {
        let revision = watch::Sender::new(view.revision);
        Self { view: ArcSwap::from_pointee(view), revision }
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
}
