//! What only a shared database can get wrong, on PostgreSQL itself.

mod postgres_server;
mod shared_database;

/// How the stores of these tests get to the database.
const WAY: postgres_server::Way = postgres_server::Way::Direct;
