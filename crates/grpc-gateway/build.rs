//! Generates the service from `proto/` in Rust (protox), so that a build needs no protoc.
//!
//! The code that `src/lib.rs` includes, and the file descriptor set that reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const PROTO: &str = "streamhouse/producer/producer.proto";
const PEER_PROTO: &str = "streamhouse/internal/peer.proto";

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts their folders by variables")]
fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", folder.join(PROTO).display());
    let descriptors = protox::compile([PROTO], [&folder])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("producer_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed={}", folder.join(PEER_PROTO).display());
    tonic_prost_build::configure().compile_fds(protox::compile([PEER_PROTO], [&folder])?)?;
    Ok(())
}
