//! KIP-848 consumer groups as pure state: no I/O, no clock, no randomness of its own.

mod assignment;
mod assignor;
mod range;
mod uniform;
mod uniform_mixed;

pub use assignment::Assignment;
pub use assignor::Assignor;
