//! What the agent counts. Without the feature `metrics` every method is empty.

/// Which front end a connection or request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEnd {
    /// Kafka.
    Kafka,
    /// gRPC.
    Grpc,
}

/// Instruments; one per agent, shared.
#[derive(Debug, Default)]
pub struct Metrics {}
