//! KIP-848 consumer groups as pure state: no I/O, no clock, no randomness of its own.
//!
//! `heartbeat` is the one thing that members do; `consumer_group` is what it works on; `member` has the step by which a member
//! comes nearer to what the `assignor` gave it; `classic_members` is how members take part that speak the classic protocol.

mod assignment;
mod assignor;
mod classic_members;
mod consumer_group;
mod deadlines;
mod describe;
mod heartbeat;
mod limits;
mod member;
mod migration;
mod range;
mod rows;
mod subscription;
mod uniform;
mod uniform_mixed;

pub use assignment::Assignment;
pub use assignor::Assignor;
pub(crate) use consumer_group::ConsumerGroup;
pub use limits::{ConsumerBounds, ConsumerSettings};
pub(crate) use limits::{ID_BYTES_MAX, SUBSCRIBED_NAMES_MAX};
pub(crate) use member::{LEAVE_EPOCH, STATIC_LEAVE_EPOCH};

#[cfg(test)]
mod rig;
