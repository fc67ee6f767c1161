//! What people use today for the same question, as Debian packages it.

pub mod postgres;
pub mod redis;
