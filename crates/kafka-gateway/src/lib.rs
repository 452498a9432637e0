//! The Kafka front end: wire to domain and back.
//!
//! A request's way: `server` (accepts) → `connection` (order, pipelining) → `frame` (bounded reading) → `dispatch` →
//! `preflight` (walks the bytes by `schema`) → `handlers/<api>` → the broker, and back through `reply`. The version
//! table is `api`; the broker's errors become Kafka's in `error_code`. No behaviour lives here that the other front
//! end would need too.

mod api;
#[cfg(test)]
mod bodies_tests;
mod connection;
mod context;
mod dispatch;
mod error_code;
mod fetch_response;
mod fetch_sessions;
mod frame;
mod handlers;
mod named_by_id;
mod preflight;
mod reply;
mod schema;
mod server;
mod settings;

pub use connection::{Addresses, serve_connection};
pub use fetch_sessions::FetchSessions;
pub use server::KafkaServer;
pub use settings::KafkaSettings;
