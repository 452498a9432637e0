//! Batches, objects and keys as bytes: what is written is read, what is damaged or lies is refused. One binary, since each would
//! compile and link the same code again: `cargo test --workspace --test encoding -- filtered::`.

mod batches;
mod compressed;
mod data_format;
#[path = "../exercise/mod.rs"]
mod exercise;
mod filtered;
mod formats;
mod properties;
mod refused;
mod samples;
