//! The Kafka front end over byte streams, against a real broker in memory.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths in tests are small")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod admin;
mod admin_answers;
mod alter_configs;
mod connection;
mod delete_records;
mod fetch_sessions;
mod group_offsets;
mod groups;
mod harness;
mod metadata;
mod produce_and_fetch;
