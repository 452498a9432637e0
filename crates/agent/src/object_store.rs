//! Builds the object store the broker uses: one `opendal::Operator` with the layers that make it dependable.
//!
//! From the inside out: the service (for a folder, with [`DurableWrites`] over it), what counts requests as they are
//! billed (`store_meter.rs`), a bound on operations at the same time, a time-out per attempt, retries with growing, jittered delays. The time-out is inside the retries, as
//! it drops the attempt's future. Opening ends with a check, so that a missing bucket or a folder that cannot be
//! written is one clear line at start and not the first producer's error.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use opendal::layers::{ConcurrentLimitLayer, RetryLayer, TimeoutLayer};
use opendal::{Operator, services};

use crate::config::StoreSettings;
use crate::local_store::DurableWrites;
use crate::remote_store::{self, Place};

/// Operations on the store at the same time, of all kinds.
const OPERATIONS_MAX: usize = 256;
/// One attempt of a read or write; a disk under load may stall longer than a healthy bucket does.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
const DISK_IO_TIMEOUT: Duration = Duration::from_secs(30);
/// Retries: 50 ms, 100 ms, … each plus jitter, about 1.6 s in all; then the flush gives up and the producer retries.
const RETRIES: usize = 5;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);

/// An open store and how to name it to people.
pub(crate) struct ObjectStore {
    pub(crate) operator: Operator,
    /// A URL without secrets.
    pub(crate) location: String,
}

/// Opens the store and checks that it answers. `alone`: no other agent uses it. `metered` lays what counts requests over the
/// service.
///
/// # Errors
/// The folder cannot be created or written; the bucket is missing, refuses or does not answer.
pub(crate) async fn open(
    settings: &StoreSettings,
    alone: bool,
    metered: impl FnOnce(Operator) -> Operator,
) -> Result<ObjectStore> {
    match settings {
        StoreSettings::File { root } => {
            let root = root.clone();
            let opened = tokio::task::spawn_blocking({
                let root = root.clone();
                move || DurableWrites::open(&root, alone)
            });
            let durable =
                opened.await?.with_context(|| format!("object store: folder {} cannot be written", root.display()))?;
            let folder = durable.root().to_str().ok_or_else(|| anyhow!("object store: folder name is not UTF-8"))?;
            let location = format!("file://{folder}");
            let operator = Operator::new(services::Fs::default().root(folder)).context("object store")?.layer(durable);
            Ok(ObjectStore { operator: dependable(metered(operator), DISK_IO_TIMEOUT), location })
        }
        StoreSettings::Memory => {
            let operator = Operator::new(services::Memory::default()).context("object store")?;
            Ok(ObjectStore { operator: dependable(metered(operator), IO_TIMEOUT), location: "memory://".to_owned() })
        }
        StoreSettings::S3(s3) => open_remote(remote_store::s3(s3)?, metered).await,
        #[cfg(feature = "gcs")]
        StoreSettings::Gcs(gcs) => open_remote(remote_store::gcs(gcs)?, metered).await,
        #[cfg(feature = "azure")]
        StoreSettings::Azure(azure) => open_remote(remote_store::azure(azure)?, metered).await,
        #[cfg(not(all(feature = "gcs", feature = "azure")))]
        _ => Err(anyhow!("object store: not in this build")),
    }
}

fn dependable(operator: Operator, io_timeout: Duration) -> Operator {
    let retries = RetryLayer::new()
        .with_min_delay(FIRST_RETRY_DELAY)
        .with_max_delay(RETRY_DELAY_MAX)
        .with_factor(2.0)
        .with_max_times(RETRIES)
        .with_jitter();
    operator
        .layer(ConcurrentLimitLayer::new(OPERATIONS_MAX))
        .layer(TimeoutLayer::new().with_timeout(io_timeout).with_io_timeout(io_timeout))
        .layer(retries)
}

/// With the layers, and tried.
async fn open_remote(
    (operator, place): (Operator, Place),
    metered: impl FnOnce(Operator) -> Operator,
) -> Result<ObjectStore> {
    let operator = dependable(metered(operator), IO_TIMEOUT);
    remote_store::check(&operator, &place).await?;
    Ok(ObjectStore { operator, location: place.location })
}

#[cfg(test)]
#[path = "object_store_tests.rs"]
mod tests;

#[cfg(test)]
#[cfg(all(feature = "gcs", feature = "azure"))]
#[path = "remote_store_tests.rs"]
mod remote_tests;
