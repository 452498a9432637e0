//! What only a shared database can get wrong, on PostgreSQL itself.

#[path = "shared_database/mod.rs"]
mod shared_database;

use crate::postgres_server::Way;

/// How the stores of these tests get to the database.
const WAY: Way = Way::Direct;
