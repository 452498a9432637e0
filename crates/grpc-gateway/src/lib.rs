//! The gRPC front end: `streamhouse.producer.ProducerService`, with reflection and `grpc.health.v1`.
//!
//! A request crosses `server` (listener, limits) → `admission` (its bytes are taken from the memory budget before they
//! are buffered) → `codec` (elements are counted before anything is decoded) → `service` → `convert` (wire to domain,
//! pure) → `produce` (the broker's two-stage append) → `status` (every error to one status). The gateway holds no
//! behaviour that Kafka producers would need too; that is the broker's. The contract for clients is docs/grpc.md and
//! `proto/streamhouse/producer/producer.proto`.

mod admission;
mod codec;
mod connection;
mod convert;
mod limits;
mod organization;
mod partitioner;
mod peer;
mod produce;
mod produce_stream;
mod server;
mod service;
mod status;

pub use peer::watch_peers;
pub use server::{GrpcServer, GrpcSettings, ServeError, services};

/// What agents ask of each other, generated from `proto/`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "generated code"
)]
mod peer_proto {
    tonic::include_proto!("streamhouse.internal");
}

/// Messages, client and server of `streamhouse.producer`, generated from `proto/`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code; its comments are the proto's"
)]
pub mod proto {
    tonic::include_proto!("streamhouse.producer");

    /// The encoded file descriptor set, as reflection serves it.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/producer_descriptor.bin"));
}
