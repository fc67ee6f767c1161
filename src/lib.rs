//! sendgate: may this message go to this recipient, now?
//!
//! `README.md` shows the parts and how they import each other.

pub mod app;
pub mod audit;
pub mod backup;
pub mod caps;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod ending;
pub mod engine;
pub mod formats;
pub mod health;
pub mod http;
pub mod iys;
pub mod memory;
pub mod metrics;
pub mod proto;
pub mod reader;
pub mod recovery;
pub mod service;
pub mod store;
pub mod tokens;
pub mod traces;
pub mod transport;
pub mod verify;
pub mod writer;
