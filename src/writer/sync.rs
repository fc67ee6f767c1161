//! What publishing rests on. The model in `publish_tests` puts loom's primitives
//! in the place of these, and runs `publish.rs` as it stands.

pub(super) use arc_swap::ArcSwap;
pub(super) use tokio::sync::watch;
