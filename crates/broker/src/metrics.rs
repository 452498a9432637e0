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

impl Metrics {
    /// A connection came.
    pub fn connection_opened(&self, _front_end: FrontEnd) {}
    /// A connection ended.
    pub fn connection_closed(&self, _front_end: FrontEnd) {}
    /// A request was answered.
    pub fn request(&self, _front_end: FrontEnd, _api: &'static str, _seconds: f64, _error: bool) {}
}
