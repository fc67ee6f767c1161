#[path = "it/batches.rs"]
mod batches;
#[path = "it/support.rs"]
mod support;
#[path = "it/wire.rs"]
mod wire;
