//! What a server can be loaded with.

pub mod check;
pub mod filter;
pub mod import;
pub mod mixed;
pub mod record;
pub mod restart;
pub mod scale;
