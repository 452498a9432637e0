//! Object stores behind HTTP: S3, Google Cloud Storage, Azure Blob Storage.
//!
//! Each opens with what its users expect to be asked for, and is then tried: what is wrong with a bucket is one line that
//! names it. Flushes are single requests (S3: PUT, at most 5 GiB; Google: one media upload, at most 5 TiB; Azure: Put
//! Blob, at most 5,000 MiB), as `FLUSH_BYTES` is at most 1 GiB; what a rewrite writes comes in parts, and is an object when
//! the last of them is there. So no object is ever seen in part.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use opendal::{ErrorKind, HttpTransporter, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use crate::config::S3Settings;
#[cfg(feature = "azure")]
use crate::store_settings::AzureSettings;
#[cfg(feature = "gcs")]
use crate::store_settings::GcsSettings;

/// S3 closes idle connections after 10 to 20 s; a client that keeps them longer meets a dead one.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// By these a service says that the bucket or container is not there, as opposed to an object in it.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"];
/// By these S3 says that a bucket is elsewhere: a redirection, or that the signature names the wrong region.
const WRONG_REGION: [&str; 3] =
    ["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"];

/// A bucket or container, in the words for people.
pub(crate) struct Place {
    /// A URL without secrets.
    pub(crate) location: String,
    /// `bucket "b"`, `container "c"`.
    what: String,
    /// Who is asked.
    endpoint: String,
    /// What an S3 region was said to be.
    region: Option<String>,
}

impl Place {
    fn new(scheme: &str, kind: &str, name: &str, prefix: &str, endpoint: &str) -> Self {
        let location = match prefix {
            "" => format!("{scheme}://{name}"),
            prefix => format!("{scheme}://{name}/{prefix}"),
        };
        Self { location, what: format!("{kind} {name:?}"), endpoint: endpoint.to_owned(), region: None }
    }
}

pub(crate) fn s3(s3: &S3Settings) -> Result<(Operator, Place)> {
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
    let operator = over_http(Operator::new(service).context("object store")?)?;
    let place = Place::new("s3", "bucket", &s3.bucket, &s3.prefix, s3.endpoint.as_deref().unwrap_or("AWS"));
    Ok((operator, Place { region: Some(s3.region.clone()), ..place }))
}

#[cfg(feature = "gcs")]
pub(crate) fn gcs(gcs: &GcsSettings) -> Result<(Operator, Place)> {
    let mut service = services::Gcs::default().bucket(&gcs.bucket).root(&gcs.prefix);
    if let Some(emulator) = &gcs.emulator {
        service = service.endpoint(emulator).skip_signature().disable_config_load().disable_vm_metadata();
    } else if let Some(file) = &gcs.credentials_file {
        let file = file.to_str().context("GOOGLE_APPLICATION_CREDENTIALS is not UTF-8")?;
        service = service.credential_path(file).disable_config_load().disable_vm_metadata();
    }
    let operator = over_http(Operator::new(service).context("object store")?)?;
    let endpoint = gcs.emulator.as_deref().unwrap_or("Google Cloud");
    Ok((operator, Place::new("gs", "bucket", &gcs.bucket, &gcs.prefix, endpoint)))
}

#[cfg(feature = "azure")]
pub(crate) fn azure(azure: &AzureSettings) -> Result<(Operator, Place)> {
    let whole = azure.connection_string.as_deref();
    let mut service = match whole.map(services::Azblob::from_connection_string) {
        None => services::Azblob::default(),
        Some(Ok(service)) => service,
        // The driver's error shows the string, which holds the key.
        Some(Err(_)) => return Err(anyhow!("AZURE_STORAGE_CONNECTION_STRING cannot be read")),
    };
    service = service.container(&azure.container).root(&azure.prefix);
    if let Some(account) = &azure.account {
        service = service.account_name(account);
    }
    if let Some(key) = &azure.key {
        service = service.account_key(key);
    }
    if let Some(token) = &azure.sas_token {
        service = service.sas_token(token.trim_start_matches('?'));
    }
    let of_account = azure.account.as_ref().filter(|_| whole.is_none());
    let of_account = of_account.map(|account| format!("https://{account}.blob.core.windows.net"));
    let endpoint = azure.endpoint.clone().or(of_account);
    if let Some(endpoint) = &endpoint {
        service = service.endpoint(endpoint);
    }
    let operator = Operator::new(service);
    let operator = operator.map_err(|error| anyhow!("object store: {}", error.message()))?;
    let endpoint = endpoint.as_deref().unwrap_or("Azure");
    Ok((over_http(operator)?, Place::new("az", "container", &azure.container, &azure.prefix, endpoint)))
}

fn over_http(operator: Operator) -> Result<Operator> {
    let transport = HttpTransporter::new(ReqwestTransport::new(http_client()?));
    let context = operator.base_context().clone().with_http_transport(transport);
    Ok(operator.with_context(context))
}

/// What the agent will do there, once: a listing, whose answer tells a missing bucket from a missing object, and a small object
/// that is written, read and deleted.
pub(crate) async fn check(operator: &Operator, place: &Place) -> Result<()> {
    // A name of its own: another agent may be starting at the same time.
    let probe = format!("probe-{:016x}", OsRng.try_next_u64().context("random number")?);
    let at = |what: &'static str| move |error: opendal::Error| refusal(place, what, &error);
    operator.list_with("/").limit(1).await.map_err(at("list objects"))?;
    operator.write(&probe, "probe").await.map_err(at("write objects"))?;
    operator.read(&probe).await.map_err(at("read objects"))?;
    operator.delete(&probe).await.map_err(at("delete objects"))
}

/// The one line about what went wrong when the agent wanted to do this.
fn refusal(place: &Place, what: &str, error: &opendal::Error) -> anyhow::Error {
    let text = error.to_string();
    let says = |codes: &[&str]| codes.iter().any(|code| text.contains(code));
    let Place { location, what: bucket, endpoint, region } = place;
    if let Some(region) = region.as_ref().filter(|_| says(&WRONG_REGION)) {
        return anyhow!("object store: {location} at {endpoint} is not in region {region:?}; set AWS_REGION");
    }
    let is_missing = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConfigInvalid) && says(&NO_BUCKET);
    // Only these two ask for the bucket itself, or for what was written just now.
    if is_missing || (error.kind() == ErrorKind::NotFound && matches!(what, "list objects" | "write objects")) {
        return anyhow!("object store: {bucket} does not exist at {endpoint}");
    }
    if error.kind() == ErrorKind::PermissionDenied || says(&["status: 401"]) {
        return anyhow!("object store: {location} at {endpoint} does not let these credentials {what}");
    }
    anyhow!("object store: {location} at {endpoint} does not answer: {}", one_line(&text))
}

/// OpenDAL's errors span lines when printed in full.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What HTTP clients are made from.
pub(crate) fn http_client_builder() -> reqwest::ClientBuilder {
    // Fails only if another provider was installed before, which would serve as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

fn http_client() -> Result<reqwest::Client> {
    http_client_builder()
        .pool_idle_timeout(IDLE_CONNECTION_MAX)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .build()
        .context("object store: HTTP client")
}
