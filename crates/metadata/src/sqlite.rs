//! SQLite.
/// stub
#[derive(Debug)]
pub struct SqliteStore {}
/// stub
#[derive(Debug, thiserror::Error)]
pub enum OpenError {}
