//! Compiles the protos without protoc, with the descriptor set that reflection serves.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use prost::Message;

const PROTOS: [&str; 4] = [
    "sendgate/v1/types.proto",
    "sendgate/v1/filter.proto",
    "sendgate/v1/consent.proto",
    "sendgate/v1/admin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // What the binary says of its own build.
    let rustc = Command::new(env::var("RUSTC")?).arg("--version").output()?;
    let version = String::from_utf8(rustc.stdout)?;
    let version = version.split_whitespace().nth(1).ok_or("rustc does not say its version")?;
    println!("cargo:rustc-env=RUSTC_VERSION={version}");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("sendgate.v1.bin");
    fs::write(out, descriptors.encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    // Byte columns are slices of the received message, not copies of it.
    config.bytes(["."]);
    // The packed columns are taken as bytes by a message of our own; see `proto::batch`.
    config.extern_path(".sendgate.v1.RecipientBatch", "crate::proto::RecipientBatch");
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}
