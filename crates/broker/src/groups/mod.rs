//! Consumer groups.

pub(crate) mod consumer;
