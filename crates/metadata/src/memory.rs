//! The in-memory model.
/// stub
#[derive(Debug, Default)]
pub struct MemoryStore {}
