//! The server as a process: prints its address and runs until it is killed.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser;
use s3_server::{Faults, Server, Settings};

/// An S3 server in memory, for tests.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The one bucket.
    #[arg(long, default_value = "streamhouse")]
    bucket: String,
    /// Seed of latencies and faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Latencies and faults, as in `PUT /-/faults?…`; e.g. put=50/200&get=30/150.
    #[arg(long, default_value = "")]
    faults: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut faults = Faults::default();
    faults.change(&arguments.faults)?;
    let settings = Settings { bucket: arguments.bucket, seed: arguments.seed, faults, ..Settings::default() };
    let address = Server::new(settings).listen(arguments.listen).await?;
    writeln!(std::io::stdout(), "http://{address}")?;
    std::future::pending().await
}
