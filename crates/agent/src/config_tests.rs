//! Settings: what each word means, and that every bad one is refused with one line.

use broker::{GroupSettings, MigrationPolicy};

use super::*;

fn parse(flags: &[&str]) -> Result<Settings, Refusal> {
    let words: Vec<&str> = std::iter::once("agent").chain(flags.iter().copied()).collect();
    Settings::from_arguments(words)
}

fn good(flags: &[&str]) -> Settings {
    parse(flags).unwrap()
}

#[test]
fn with_nothing_set_everything_is_local() {
    let settings = good(&[]);
    assert_eq!(settings.metadata, MetadataSettings::Sqlite { path: PathBuf::from("./data/metadata.db") });
    assert_eq!(settings.store, StoreSettings::File { root: PathBuf::from("./data/store") });
    assert_eq!((settings.kafka.port, settings.grpc.port, settings.http.port), (9092, 9090, 8080));
    assert_eq!(settings.broker.agent_id, settings.host_name);
    assert_eq!(settings.broker.flush_interval, Duration::ZERO);
    assert_eq!(settings.broker.flush_bytes, 1 << 20);
    assert_eq!(settings.broker.memory_bytes, 256 << 20);
    assert_eq!(settings.broker.lease_duration, Duration::from_secs(30));
    assert!(settings.broker.auto_create_topics);
    assert_eq!(settings.broker.default_partitions, 1);
}

#[test]
fn requests_have_a_price_where_they_are_billed_and_another_if_one_is_said() {
    let price = |flags: &[&str]| good(flags).prices;
    let preset = |name| PriceTable::preset(name).unwrap();
    assert_eq!(price(&[]), preset("free"));
    assert_eq!(price(&["--streamhouse-store", "s3://b"]), preset("s3-standard"));
    assert_eq!(price(&["--cost-prices", "s3-express"]), preset("s3-express"));
    assert!(
        matches!(parse(&["--cost-prices", "put=much"]), Err(Refusal::Bad(line)) if line.starts_with("COST_PRICES: "))
    );
}

#[test]
fn workers_leave_processors_to_threads_that_write_to_disks_of_this_machine() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let workers = |flags: &[&str]| good(flags).worker_threads;
    assert_eq!(workers(&[]), cores.div_ceil(2));
    assert_eq!(workers(&["--streamhouse-store", "s3://b"]), cores);
    assert_eq!(workers(&["--streamhouse-store", "s3://b", "--worker-threads", "3"]), 3);
}

#[test]
fn a_read_cache_is_for_stores_behind_http() {
    let cache = |flags: &[&str]| good(flags).broker.cache;
    assert_eq!(cache(&[]), None);
    assert_eq!(cache(&["--streamhouse-store", "memory://", "--cache-bytes", "1GiB"]), None);
    let of = |folder: &str, bytes_max| Some(CacheSettings { folder: PathBuf::from(folder), bytes_max });
    assert_eq!(cache(&["--streamhouse-store", "s3://b"]), of("./data/cache", 1 << 30));
    assert_eq!(
        cache(&["--streamhouse-store", "s3://b", "--streamhouse-cache", "/c", "--cache-bytes", "5MiB"]),
        of("/c", 5 << 20)
    );
    assert_eq!(cache(&["--streamhouse-store", "s3://b", "--cache-bytes", "0"]), None);
}

#[test]
fn the_store_follows_url_bucket_and_endpoint() {
    let s3 = |flags: &[&str]| match good(flags).store {
        StoreSettings::S3(s3) => s3,
        other => panic!("{other:?}"),
    };
    assert_eq!(s3(&["--streamhouse-bucket", "b"]).bucket, "b");
    assert_eq!(s3(&["--aws-endpoint-url", "http://h:1"]).bucket, "streamhouse-data");
    let named = s3(&["--streamhouse-store", "s3://b/some/prefix/", "--streamhouse-bucket", "other"]);
    assert_eq!((named.bucket.as_str(), named.prefix.as_str()), ("b", "some/prefix"));
    assert_eq!(named.keys, None);
    let keyed = s3(&["--streamhouse-store", "s3://b", "--aws-access-key-id", "i", "--aws-secret-access-key", "s"]);
    assert_eq!(keyed.keys, Some(("i".to_owned(), "s".to_owned(), None)));
    assert!(!format!("{keyed:?}").contains("keys"), "keys stay out of logs");
    let folder = |url| good(&["--streamhouse-store", url]).store;
    assert_eq!(folder("file:///a/b"), StoreSettings::File { root: PathBuf::from("/a/b") });
    assert_eq!(folder("memory://"), StoreSettings::Memory);
    assert_eq!(folder(""), StoreSettings::File { root: PathBuf::from("./data/store") });
}

#[cfg(feature = "gcs")]
#[test]
fn a_bucket_of_google_is_a_url_and_a_stand_in_needs_no_scheme() {
    let gcs = |flags: &[&str]| match good(flags).store {
        StoreSettings::Gcs(gcs) => gcs,
        other => panic!("{other:?}"),
    };
    let named = gcs(&["--streamhouse-store", "gs://b/some/prefix/"]);
    assert_eq!((named.bucket.as_str(), named.prefix.as_str()), ("b", "some/prefix"));
    assert_eq!((named.emulator, named.credentials_file), (None, None));
    for host in ["h:1", "http://h:1", "http://h:1/"] {
        let stand_in = gcs(&["--streamhouse-store", "gs://b", "--storage-emulator-host", host]);
        assert_eq!(stand_in.emulator.as_deref(), Some("http://h:1"));
    }
}

#[cfg(feature = "azure")]
#[test]
fn a_container_of_azure_takes_either_name_of_account_and_key_and_shows_no_secret() {
    let azure = |flags: &[&str]| match good(flags).store {
        StoreSettings::Azure(azure) => azure,
        other => panic!("{other:?}"),
    };
    let cli = ["--azure-storage-account", "a", "--azure-storage-key", "secret"];
    let others = ["--azure-storage-account-name", "a", "--azure-storage-account-key", "secret"];
    for names in [cli, others] {
        let named = azure(&[&["--streamhouse-store", "az://c/p"], names.as_slice()].concat());
        assert_eq!((named.container.as_str(), named.prefix.as_str()), ("c", "p"));
        assert_eq!((named.account.as_deref(), named.key.as_deref()), (Some("a"), Some("secret")));
        assert!(!format!("{named:?}").contains("secret"), "{named:?}");
    }
    let whole = azure(&["--streamhouse-store", "az://c", "--azure-storage-connection-string", "AccountKey=secret"]);
    assert!(whole.connection_string.is_some() && !format!("{whole:?}").contains("secret"));
}

#[test]
fn a_billed_store_flushes_less_often_unless_told() {
    let billed = good(&["--streamhouse-bucket", "b"]).broker;
    assert_eq!((billed.flush_interval, billed.flush_bytes), (Duration::from_millis(100), 8 << 20));
    let told = good(&["--streamhouse-bucket", "b", "--flush-interval-ms", "5", "--flush-bytes", "2MiB"]).broker;
    assert_eq!((told.flush_interval, told.flush_bytes), (Duration::from_millis(5), 2 << 20));
}

#[test]
fn metadata_is_a_path_or_a_sqlite_url() {
    let file = |word| match good(&["--metadata-store", word]).metadata {
        MetadataSettings::Sqlite { path } => path,
        MetadataSettings::Postgres { .. } => unreachable!("{word}"),
    };
    assert_eq!(file("/a/m.db"), PathBuf::from("/a/m.db"));
    assert_eq!(file("sqlite:///a/m.db"), PathBuf::from("/a/m.db"));
    assert_eq!(file("sqlite://m.db"), PathBuf::from("m.db"));
}

#[test]
fn addresses_name_host_and_port() {
    let settings = good(&["--kafka-address", "[::1]:1", "--agent-address", ":2", "--metrics-port", "3"]);
    assert_eq!(settings.kafka, Listen { host: "::1".to_owned(), port: 1 });
    assert_eq!(settings.grpc, Listen { host: "0.0.0.0".to_owned(), port: 2 });
    assert_eq!(settings.http, Listen { host: "0.0.0.0".to_owned(), port: 3 });
    assert!(settings.grpc.is_wildcard() && !settings.kafka.is_wildcard());
}

#[test]
fn durations_and_sizes_take_units() {
    let settings = good(&["--lease-duration", "1500ms", "--heartbeat-interval", "7s", "--memory-bytes", "1GiB"]);
    assert_eq!(settings.broker.lease_duration, Duration::from_millis(1500));
    assert_eq!(settings.broker.heartbeat_interval, Duration::from_secs(7));
    assert_eq!(settings.broker.memory_bytes, 1 << 30);
}

#[test]
fn a_stop_point_is_a_name_and_a_count() {
    assert_eq!(good(&[]).broker.stop_at, None);
    assert_eq!(good(&["--stop-at", "after-put"]).broker.stop_at, Some((StopPoint::AfterPut, 1)));
    assert_eq!(good(&["--stop-at", "after-rewrite:3"]).broker.stop_at, Some((StopPoint::AfterRewrite, 3)));
    assert_eq!(good(&["--stop-at=after-commit:7"]).broker.stop_at, Some((StopPoint::AfterCommit, 7)));
}

#[test]
fn every_bad_value_is_one_line_that_names_its_setting() {
    let table: &[(&str, &[&str])] = &[
        ("STREAMHOUSE_STORE", &["--metadata-store", "postgres://h/d"]),
        ("GARBAGE_INTERVAL", &["--garbage-interval", "0"]),
        ("METADATA_STORE", &["--metadata-store", "mysql://h/d"]),
        ("METADATA_STORE", &["--metadata-store", ""]),
        #[cfg(not(feature = "gcs"))]
        ("feature gcs", &["--streamhouse-store", "gs://b"]),
        #[cfg(not(feature = "azure"))]
        ("feature azure", &["--streamhouse-store", "az://b"]),
        ("names no bucket", &["--streamhouse-store", "gs:///p"]),
        ("names no container", &["--streamhouse-store", "az://"]),
        #[cfg(feature = "gcs")]
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            &["--streamhouse-store", "gs://b", "--google-application-credentials", "/not/there"],
        ),
        #[cfg(feature = "azure")]
        ("AZURE_STORAGE_ACCOUNT", &["--streamhouse-store", "az://c"]),
        #[cfg(feature = "azure")]
        ("AZURE_STORAGE_ENDPOINT", &["--streamhouse-store", "az://c", "--azure-storage-endpoint", "h:1"]),
        ("METADATA_SESSION_STORE", &["--metadata-session-store", "postgres://h/d"]),
        (
            "METADATA_SESSION_STORE",
            &["--metadata-store", "postgres://h/d", "--metadata-session-store", "h", "--streamhouse-bucket", "b"],
        ),
        ("unknown scheme", &["--streamhouse-store", "ftp://b"]),
        ("not a URL", &["--streamhouse-store", "/folder"]),
        ("names no bucket", &["--streamhouse-store", "s3://"]),
        ("names no folder", &["--streamhouse-store", "file://"]),
        ("set together", &["--streamhouse-bucket", "b", "--aws-access-key-id", "i"]),
        ("AWS_ENDPOINT_URL", &["--aws-endpoint-url", "localhost:1"]),
        ("KAFKA_ADDRESS", &["--kafka-address", "9092"]),
        ("KAFKA_ADDRESS", &["--kafka-address", "host:99999"]),
        ("AGENT_ADDRESS", &["--agent-address", "::1:9090"]),
        ("KAFKA_ADVERTISED_ADDRESS", &["--kafka-advertised-address", "0.0.0.0:9092"]),
        ("AGENT_ADVERTISED_ADDRESS", &["--agent-advertised-address", "host"]),
        ("METRICS_PORT", &["--metrics-port", "65536"]),
        ("LEASE_DURATION", &["--lease-duration", "soon"]),
        ("LEASE_DURATION", &["--lease-duration", "0"]),
        ("HEARTBEAT_INTERVAL", &["--heartbeat-interval", "0"]),
        ("FLUSH_INTERVAL_MS", &["--flush-interval-ms=-1"]),
        ("FLUSH_BYTES", &["--flush-bytes", "8MB"]),
        ("FLUSH_BYTES", &["--flush-bytes", "1"]),
        ("MEMORY_BYTES", &["--memory-bytes", "99999999999999999999"]),
        ("MEMORY_BYTES", &["--memory-bytes", "1KiB"]),
        ("UPLOADS_IN_FLIGHT", &["--uploads-in-flight", "0"]),
        ("WORKER_THREADS", &["--worker-threads", "0"]),
        ("NUM_PARTITIONS", &["--num-partitions", "0"]),
        ("AUTO_CREATE_TOPICS", &["--auto-create-topics", "yes"]),
        ("AGENT_ID", &["--agent-id", "two words"]),
        ("SHUTDOWN_TIMEOUT", &["--shutdown-timeout", "0"]),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &["--otel-exporter-otlp-endpoint", "https://h:4317"]),
        ("OTEL_METRIC_EXPORT_INTERVAL", &["--otel-metric-export-interval", "0"]),
        ("RUST_LOG", &["--rust-log", "agent=loud"]),
        ("--stop-at", &["--stop-at", "after-lunch"]),
        ("--stop-at", &["--stop-at", "after-put:0"]),
        ("--no-such-flag", &["--no-such-flag"]),
    ];
    for (named, flags) in table {
        match parse(flags) {
            Err(Refusal::Bad(line)) => {
                assert!(line.contains(named), "{flags:?}: {line}");
                assert_eq!(line.lines().count(), 1, "{flags:?}: {line}");
            }
            other => panic!("{flags:?}: {other:?}"),
        }
    }
}

#[test]
fn a_shared_database_needs_a_store_that_was_named_and_shows_no_password() {
    for scheme in ["postgres", "postgresql"] {
        let url = format!("{scheme}://user:secret@db:5432/meta?password=hidden");
        let settings = good(&["--metadata-store", &url, "--streamhouse-store", "file:///shared"]);
        assert_eq!(settings.metadata, MetadataSettings::Postgres { url, session_url: None });
        assert_eq!(settings.metadata.location(), "postgres db:5432/meta");
        assert!(!format!("{settings:?}").contains("secret") && !format!("{settings:?}").contains("hidden"));
    }
    good(&["--metadata-store", "postgres://h/d", "--streamhouse-bucket", "b"]);
}

#[test]
fn help_lists_every_variable() {
    let Err(Refusal::Asked(text)) = parse(&["--help"]) else { panic!("help was not given") };
    let variables = [
        "METADATA_STORE",
        "METADATA_SESSION_STORE",
        "STREAMHOUSE_STORE",
        "STREAMHOUSE_BUCKET",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "STORAGE_EMULATOR_HOST",
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
        "STREAMHOUSE_CACHE",
        "CACHE_BYTES",
        "AGENT_ID",
        "AGENT_ADDRESS",
        "AGENT_ADVERTISED_ADDRESS",
        "KAFKA_ADDRESS",
        "KAFKA_ADVERTISED_ADDRESS",
        "METRICS_PORT",
        "AGENT_ZONE",
        "AGENT_GROUP",
        "MANAGED_TOPICS",
        "HEARTBEAT_INTERVAL",
        "LEASE_DURATION",
        "GARBAGE_INTERVAL",
        "GARBAGE_GRACE",
        "FILE_DELETE_DELAY",
        "FLUSH_INTERVAL_MS",
        "FLUSH_BYTES",
        "MEMORY_BYTES",
        "RUST_LOG",
    ];
    for variable in variables {
        assert!(text.contains(&format!("[env: {variable}")), "{variable} is missing");
    }
}

#[test]
fn settings_of_groups_have_kafkas_names_and_bounds() {
    let bad: &[(&str, &[&str])] = &[
        ("OFFSETS_TOPIC_NUM_PARTITIONS", &["--offsets-topic-num-partitions", "0"]),
        ("GROUP_INITIAL_REBALANCE_DELAY_MS", &["--group-initial-rebalance-delay-ms", "300001"]),
        ("GROUP_MIN_SESSION_TIMEOUT_MS", &["--group-min-session-timeout-ms", "1800001"]),
        ("GROUP_MAX_SESSION_TIMEOUT_MS", &["--group-max-session-timeout-ms", "86400001"]),
        ("OFFSETS_RETENTION_MINUTES", &["--offsets-retention-minutes", "0"]),
        ("GROUP_MAX_SIZE", &["--group-max-size", "0"]),
        ("GROUP_MEMORY_BYTES", &["--group-memory-bytes", "1000"]),
        ("GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS", &["--group-consumer-min-session-timeout-ms", "60001"]),
        ("GROUP_CONSUMER_MAX_SESSION_TIMEOUT_MS", &["--group-consumer-max-session-timeout-ms", "86400001"]),
        ("GROUP_CONSUMER_SESSION_TIMEOUT_MS", &["--group-consumer-session-timeout-ms", "44999"]),
        ("GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS", &["--group-consumer-min-heartbeat-interval-ms", "0"]),
        ("GROUP_CONSUMER_MAX_HEARTBEAT_INTERVAL_MS", &["--group-consumer-max-heartbeat-interval-ms", "86400001"]),
        ("GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS", &["--group-consumer-heartbeat-interval-ms", "15001"]),
        ("GROUP_CONSUMER_MAX_SIZE", &["--group-consumer-max-size", "2001"]),
        ("GROUP_CONSUMER_MIGRATION_POLICY", &["--group-consumer-migration-policy", "sometimes"]),
    ];
    for (name, flags) in bad {
        match parse(flags) {
            Err(Refusal::Bad(line)) => assert!(line.starts_with(name), "{line}"),
            other => panic!("{flags:?}: {other:?}"),
        }
    }
    let groups = good(&["--offsets-retention-minutes", "2"]).broker.groups;
    assert_eq!((groups.offsets_retention, groups.offsets_topic_partitions), (Duration::from_secs(120), 50));
    let groups = good(&["--group-consumer-migration-policy", "UPGRADE"]).broker.groups;
    assert_eq!(groups, GroupSettings { migration_policy: MigrationPolicy::Upgrade, ..GroupSettings::default() });
}
