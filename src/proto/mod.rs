//! The wire: messages, clients and servers generated from `proto/sendgate/v1`.

mod batch;

pub use batch::{Fixed64Column, RecipientBatch};

/// Package `sendgate.v1`, as generated. Its documentation is that of the proto files.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::indexing_slicing,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("sendgate.v1");

    pub use super::RecipientBatch;
}

/// The descriptors of the package, which reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sendgate.v1.bin"));
