//! The rules of `docs/rules.md`, pure: no I/O, no clock, no memory of their own.
//!
//! [`decide::decide`] is the only place that says whether a message may go
//! out. Everything else in sendgate caches, stores or transports its answer.

pub mod address;
pub mod business_days;
pub mod contact;
pub mod decide;
pub mod erased;
pub mod event;
mod holidays;
pub mod plane;
pub mod policy;
pub mod reason;
pub mod scope;
pub mod secret;
pub mod state;
pub mod time;
pub mod validity;
