//! Where objects are: what can be said about it, and what it means.

use std::path::PathBuf;

use clap::Args;

/// The part of the command line and environment that names the object store and how to get at it.
#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    /// Where records are: `file:///folder`, `memory://` (lost at exit), `s3://bucket/prefix`, `gs://bucket/prefix` (Google
    /// Cloud Storage) or `az://container/prefix` (Azure Blob Storage). Unset: the S3 bucket STREAMHOUSE_BUCKET if that or
    /// AWS_ENDPOINT_URL is set, else the folder ./data/store.
    #[arg(long, env, hide_env_values = true)]
    pub(crate) streamhouse_store: Option<String>,

    /// S3 bucket, where STREAMHOUSE_STORE does not name one [default: streamhouse-data]
    #[arg(long, env, hide_env_values = true)]
    streamhouse_bucket: Option<String>,

    /// Endpoint of an S3-compatible store; unset: AWS.
    #[arg(long, env, hide_env_values = true)]
    aws_endpoint_url: Option<String>,

    /// S3 region. Agents in another region pay for every byte that crosses.
    #[arg(long, env, hide_env_values = true, default_value = "us-east-1")]
    aws_region: String,

    /// S3 key id; unset: the instance's or pod's role is asked. A flag is visible in the process list, a variable not.
    #[arg(long, env, hide_env_values = true)]
    aws_access_key_id: Option<String>,

    /// S3 secret key. A flag is visible in the process list, a variable is not.
    #[arg(long, env, hide_env_values = true)]
    aws_secret_access_key: Option<String>,

    /// S3 session token, with temporary keys.
    #[arg(long, env, hide_env_values = true)]
    aws_session_token: Option<String>,

    /// File of a Google Cloud service account or workload identity; unset: gcloud's default credentials, else the
    /// instance's or pod's service account.
    #[arg(long, env, hide_env_values = true)]
    google_application_credentials: Option<PathBuf>,

    /// A stand-in for Google Cloud Storage, as `host:port` or a URL. It is asked without credentials.
    #[arg(long, env, hide_env_values = true)]
    storage_emulator_host: Option<String>,

    /// Azure storage account. With no key and no token, the instance's or pod's identity is asked.
    #[arg(long, env, hide_env_values = true)]
    azure_storage_account: Option<String>,

    /// Another name for AZURE_STORAGE_ACCOUNT.
    #[arg(long, env, hide_env_values = true)]
    azure_storage_account_name: Option<String>,

    /// Key of the Azure storage account. A flag is visible in the process list, a variable is not.
    #[arg(long, env, hide_env_values = true)]
    azure_storage_key: Option<String>,

    /// Another name for AZURE_STORAGE_KEY.
    #[arg(long, env, hide_env_values = true)]
    azure_storage_account_key: Option<String>,

    /// Shared access signature, instead of the key: it needs to read, write, delete and list.
    #[arg(long, env, hide_env_values = true)]
    azure_storage_sas_token: Option<String>,

    /// Endpoint of Azure Blob Storage [default: https://ACCOUNT.blob.core.windows.net]
    #[arg(long, env, hide_env_values = true)]
    azure_storage_endpoint: Option<String>,

    /// Account, key and endpoint in one, as Azure's portal gives it. What is said apart wins.
    #[arg(long, env, hide_env_values = true)]
    azure_storage_connection_string: Option<String>,
}

/// Where objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreSettings {
    /// A local folder, made durable.
    File {
        /// The folder; created at start.
        root: PathBuf,
    },
    /// This process's memory.
    Memory,
    /// S3 or a store that speaks its protocol.
    S3(S3Settings),
    /// Google Cloud Storage.
    Gcs(GcsSettings),
    /// Azure Blob Storage.
    Azure(AzureSettings),
}

impl StoreSettings {
    /// Whether other agents can reach it, and each request costs.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::S3(_) | Self::Gcs(_) | Self::Azure(_))
    }
}

/// How to reach a bucket.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct S3Settings {
    pub(crate) bucket: String,
    /// Keys start with it; empty: none.
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    /// Key id, secret, session token; `None`: from the instance's role.
    pub(crate) keys: Option<(String, String, Option<String>)>,
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys stay out of logs.
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// How to reach a bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GcsSettings {
    pub(crate) bucket: String,
    /// Keys start with it; empty: none.
    pub(crate) prefix: String,
    /// A stand-in, which asks for no credentials.
    pub(crate) emulator: Option<String>,
    /// `None`: from gcloud's defaults or the instance.
    pub(crate) credentials_file: Option<PathBuf>,
}

/// How to reach a container of Azure Blob Storage.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AzureSettings {
    pub(crate) container: String,
    /// Keys start with it; empty: none.
    pub(crate) prefix: String,
    pub(crate) account: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) sas_token: Option<String>,
    /// What the others leave open.
    pub(crate) connection_string: Option<String>,
}

impl std::fmt::Debug for AzureSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureSettings")
            .field("container", &self.container)
            .field("prefix", &self.prefix)
            .field("account", &self.account)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// What the words mean; `Err` is one line.
pub(crate) fn store(said: &StoreArguments) -> Result<StoreSettings, String> {
    let bucket = filled(&said.streamhouse_bucket);
    let Some(url) = filled(&said.streamhouse_store) else {
        if bucket.is_none() && filled(&said.aws_endpoint_url).is_none() {
            return Ok(StoreSettings::File { root: PathBuf::from("./data/store") });
        }
        return s3(said, bucket.unwrap_or_else(|| "streamhouse-data".to_owned()), String::new());
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("STREAMHOUSE_STORE: {url:?} is not a URL; for a folder write file:///folder"));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let (bucket, prefix) = (bucket.to_owned(), prefix.trim_matches('/').to_owned());
    match scheme {
        "file" if rest.is_empty() => Err("STREAMHOUSE_STORE: file:// names no folder".to_owned()),
        "file" => Ok(StoreSettings::File { root: PathBuf::from(rest) }),
        "memory" => Ok(StoreSettings::Memory),
        "s3" | "gs" if bucket.is_empty() => Err(format!("STREAMHOUSE_STORE: {scheme}:// names no bucket")),
        "az" if bucket.is_empty() => Err("STREAMHOUSE_STORE: az:// names no container".to_owned()),
        "s3" => s3(said, bucket, prefix),
        "gs" if cfg!(feature = "gcs") => gcs(said, bucket, prefix),
        "az" if cfg!(feature = "azure") => azure(said, bucket, prefix),
        "gs" => Err("STREAMHOUSE_STORE: gs:// needs an agent that was built with the feature gcs".to_owned()),
        "az" => Err("STREAMHOUSE_STORE: az:// needs an agent that was built with the feature azure".to_owned()),
        _ => Err(format!("STREAMHOUSE_STORE: unknown scheme {scheme:?}; use file, memory, s3, gs or az")),
    }
}

fn filled(value: &Option<String>) -> Option<String> {
    value.clone().filter(|text| !text.is_empty())
}

/// A URL of HTTP, if one was said.
fn endpoint(name: &str, said: &Option<String>) -> Result<Option<String>, String> {
    match filled(said) {
        Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => {
            Err(format!("{name}: {url:?} does not begin with http:// or https://"))
        }
        said => Ok(said.map(|url| url.trim_end_matches('/').to_owned())),
    }
}

fn s3(said: &StoreArguments, bucket: String, prefix: String) -> Result<StoreSettings, String> {
    let endpoint = endpoint("AWS_ENDPOINT_URL", &said.aws_endpoint_url)?;
    let keys = match (filled(&said.aws_access_key_id), filled(&said.aws_secret_access_key)) {
        (Some(id), Some(secret)) => Some((id, secret, filled(&said.aws_session_token))),
        (None, None) => None,
        _ => return Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together".to_owned()),
    };
    Ok(StoreSettings::S3(S3Settings { bucket, prefix, endpoint, region: said.aws_region.clone(), keys }))
}

fn gcs(said: &StoreArguments, bucket: String, prefix: String) -> Result<StoreSettings, String> {
    let emulator = filled(&said.storage_emulator_host).map(|host| {
        let url = if host.contains("://") { host } else { format!("http://{host}") };
        url.trim_end_matches('/').to_owned()
    });
    let credentials_file = said.google_application_credentials.clone().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = credentials_file.as_ref().filter(|path| emulator.is_none() && !path.is_file()) {
        return Err(format!("GOOGLE_APPLICATION_CREDENTIALS: there is no file {}", path.display()));
    }
    Ok(StoreSettings::Gcs(GcsSettings { bucket, prefix, emulator, credentials_file }))
}

fn azure(said: &StoreArguments, container: String, prefix: String) -> Result<StoreSettings, String> {
    let account = filled(&said.azure_storage_account).or_else(|| filled(&said.azure_storage_account_name));
    let key = filled(&said.azure_storage_key).or_else(|| filled(&said.azure_storage_account_key));
    let connection_string = filled(&said.azure_storage_connection_string);
    let endpoint = endpoint("AZURE_STORAGE_ENDPOINT", &said.azure_storage_endpoint)?;
    let is_addressed = account.is_some() || endpoint.is_some() || connection_string.is_some();
    if !is_addressed {
        return Err("AZURE_STORAGE_ACCOUNT (or AZURE_STORAGE_CONNECTION_STRING) must be set for az://".to_owned());
    }
    let sas_token = filled(&said.azure_storage_sas_token);
    let azure = AzureSettings { container, prefix, account, endpoint, key, sas_token, connection_string };
    Ok(StoreSettings::Azure(azure))
}
