//! Builds the object store the broker uses: one `opendal::Operator` with the layers that make it dependable.
//!
//! From the inside out: the service (for a folder, with [`DurableWrites`] over it), a bound on operations at the
//! same time, a time-out per attempt, retries with growing, jittered delays. The time-out is inside the retries, as
//! it drops the attempt's future. Opening ends with a check, so that a missing bucket or a folder that cannot be
//! written is one clear line at start and not the first producer's error.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use opendal::layers::{ConcurrentLimitLayer, RetryLayer, TimeoutLayer};
use opendal::{ErrorKind, HttpTransporter, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use crate::config::{S3Settings, StoreSettings};
use crate::local_store::DurableWrites;

/// Operations on the store at the same time, of all kinds.
const OPERATIONS_MAX: usize = 256;
/// One attempt of a read or write; a disk under load may stall longer than a healthy bucket does.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
const DISK_IO_TIMEOUT: Duration = Duration::from_secs(30);
/// Retries: 50 ms, 100 ms, … each plus jitter, about 1.6 s in all; then the flush gives up and the producer retries.
const RETRIES: usize = 5;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
/// S3 closes idle connections after 10 to 20 s; a client that keeps them longer meets a dead one.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// An open store and how to name it to people.
pub(crate) struct ObjectStore {
    pub(crate) operator: Operator,
    /// A URL without secrets.
    pub(crate) location: String,
}

/// Opens the store and checks that it answers.
///
/// # Errors
/// The folder cannot be created or written; the bucket is missing, refuses or does not answer.
pub(crate) async fn open(settings: &StoreSettings) -> Result<ObjectStore> {
    match settings {
        StoreSettings::File { root } => {
            let root = root.clone();
            let opened = tokio::task::spawn_blocking({
                let root = root.clone();
                move || DurableWrites::open(&root)
            });
            let durable =
                opened.await?.with_context(|| format!("object store: folder {} cannot be written", root.display()))?;
            let folder = durable.root().to_str().ok_or_else(|| anyhow!("object store: folder name is not UTF-8"))?;
            let location = format!("file://{folder}");
            let operator = Operator::new(services::Fs::default().root(folder)).context("object store")?.layer(durable);
            Ok(ObjectStore { operator: dependable(operator, DISK_IO_TIMEOUT), location })
        }
        StoreSettings::Memory => {
            let operator = Operator::new(services::Memory::default()).context("object store")?;
            Ok(ObjectStore { operator: dependable(operator, IO_TIMEOUT), location: "memory://".to_owned() })
        }
        StoreSettings::S3(s3) => open_s3(s3).await,
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

async fn open_s3(s3: &S3Settings) -> Result<ObjectStore> {
    let mut service = services::S3::default().bucket(&s3.bucket).region(&s3.region).root(&s3.prefix);
    if let Some(endpoint) = &s3.endpoint {
        service = service.endpoint(endpoint);
    }
    if let Some((id, secret, token)) = &s3.keys {
        // Keys that were given are used alone: no file or metadata service overrides them.
        service = service.access_key_id(id).secret_access_key(secret).disable_config_load().disable_ec2_metadata();
        if let Some(token) = token {
            service = service.session_token(token);
        }
    }
    let operator = Operator::new(service).context("object store")?;
    let transport = HttpTransporter::new(ReqwestTransport::new(http_client()?));
    let context = operator.base_context().clone().with_http_transport(transport);
    let operator = dependable(operator.with_context(context), IO_TIMEOUT);
    let location = match s3.prefix.as_str() {
        "" => format!("s3://{}", s3.bucket),
        prefix => format!("s3://{}/{prefix}", s3.bucket),
    };
    check_bucket(&operator, s3, &location).await?;
    Ok(ObjectStore { operator, location })
}

/// What the agent will do there, once: a listing, whose answer tells a missing bucket from a missing object, and a small object
/// that is written, read and deleted.
async fn check_bucket(operator: &Operator, s3: &S3Settings, location: &str) -> Result<()> {
    // A name of its own: another agent may be starting at the same time.
    let probe = format!("probe-{:016x}", OsRng.try_next_u64().context("random number")?);
    let endpoint = s3.endpoint.as_deref().unwrap_or("AWS");
    let at = |what: &'static str| {
        move |error: opendal::Error| match error.kind() {
            _ if is_wrong_region(&error) => {
                anyhow!("object store: {location} at {endpoint} is not in region {:?}; set AWS_REGION", s3.region)
            }
            ErrorKind::NotFound | ErrorKind::ConfigInvalid if error.to_string().contains("NoSuchBucket") => {
                anyhow!("object store: bucket {:?} does not exist at {endpoint}", s3.bucket)
            }
            ErrorKind::PermissionDenied => {
                anyhow!("object store: {location} at {endpoint} does not let these credentials {what}")
            }
            _ => anyhow!("object store: {location} at {endpoint} does not answer: {}", one_line(&error)),
        }
    };
    operator.list_with("/").limit(1).await.map_err(at("list objects"))?;
    operator.write(&probe, "probe").await.map_err(at("write objects"))?;
    operator.read(&probe).await.map_err(at("read objects"))?;
    operator.delete(&probe).await.map_err(at("delete objects"))
}

/// A bucket elsewhere answers a redirection, or that the signature names the wrong region.
fn is_wrong_region(error: &opendal::Error) -> bool {
    let text = error.to_string();
    ["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"]
        .iter()
        .any(|code| text.contains(code))
}

/// OpenDAL's errors span lines when printed in full.
fn one_line(error: &opendal::Error) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn http_client() -> Result<reqwest::Client> {
    // Fails only if another provider was installed before, which would serve as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .pool_idle_timeout(IDLE_CONNECTION_MAX)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .no_proxy()
        .build()
        .context("object store: HTTP client")
}

#[cfg(test)]
#[path = "object_store_tests.rs"]
mod tests;
