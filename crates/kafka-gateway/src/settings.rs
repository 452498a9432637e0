//! What the agent decides about the Kafka listener.

use std::time::Duration;

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// Connections that wait to be accepted; more are refused by the kernel.
    pub backlog: u32,
    /// How long requests in flight may take to be answered after shutdown began. Longer answers more long polls in
    /// full, shorter stops sooner.
    pub grace: Duration,
    /// A connection without a request in flight is closed after this long. Clients close theirs after 9 to 10 minutes,
    /// so less than that costs them an error.
    pub idle: Duration,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            backlog: broker::limits::LISTEN_BACKLOG,
            grace: Duration::from_secs(10),
            idle: Duration::from_secs(15 * 60),
        }
    }
}
