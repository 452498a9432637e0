//! An S3 server in memory, for tests and measurements: signatures are checked, conditional writes work, answers take as long
//! as a real bucket's, and on demand requests are refused, stall, or are applied and lose their answer, and objects that are read
//! come cut off, too short or wrong.
//!
//! It serves one bucket under path-style addresses: PUT (`If-None-Match: *`), GET (ranges), HEAD, DELETE, batch deletion and
//! ListObjectsV2. Beside it `PUT /-/faults?name=value&…` changes what goes wrong from now on (see [`Faults`]), and
//! `GET /-/stats` counts what was asked, as JSON.

mod bucket;
mod damage;
mod faults;
mod server;

pub use faults::{Faults, Latency, Outage};
pub use server::{Server, Settings};
