//! The metadata stores: the same cases on each of them, random histories on all of them together, and what only one of them can get
//! wrong. One binary, since each would compile the stores' generic code again: `cargo test --workspace --test stores -- tls::`.

mod conformance;
mod late_commits;
mod pgbouncer;
mod postgres;
mod postgres_server;
mod random_history;
mod seeded_bug;
mod sqlite;
mod tls;
