//! What the agent says about itself: logs to stderr, and (feature `metrics`) metrics.
//!
//! One OpenTelemetry meter provider with one or two readers: the Prometheus exporter behind `/metrics`, and, if a
//! receiver was named, OTLP over gRPC at an interval and once more at the end. Names are the same on both ways, so the
//! exporter adds no suffixes. Pushing runs on a thread of its own: a receiver that is away costs nothing else.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sends logs to stderr by `filter`, which has been checked before.
pub(crate) fn init_logs(filter: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

#[cfg(feature = "metrics")]
pub(crate) use metrics::Telemetry;

#[cfg(feature = "metrics")]
mod metrics {
    use std::sync::Arc;
    use std::time::Duration;

    use anyhow::{Context as _, Result};
    use broker::Metrics;
    use broker::costs::Ledger;
    use opendal::Operator;
    use opentelemetry::KeyValue;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_otlp::{MetricExporter, WithExportConfig as _};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
    use prometheus::{Registry, TextEncoder};

    use crate::config::Settings;
    use crate::store_meter::StoreMeter;

    /// One push to the receiver.
    const PUSH_TIMEOUT: Duration = Duration::from_secs(3);

    /// The collectors and their readers.
    pub(crate) struct Telemetry {
        registry: Registry,
        provider: SdkMeterProvider,
        /// `None`: nothing is counted.
        ledger: Option<Arc<Ledger>>,
    }

    impl Telemetry {
        /// Readers as `settings` say. Needs a runtime; connects to nothing yet.
        ///
        /// # Errors
        /// The endpoint cannot be parsed.
        pub(crate) fn start(settings: &Settings) -> Result<Arc<Self>> {
            let registry = Registry::new();
            let prometheus = opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                .without_units()
                .without_counter_suffixes()
                .without_target_info()
                .scope_info_enabled(false)
                .build()
                .context("Prometheus exporter")?;
            let resource = Resource::builder_empty()
                .with_service_name("streamhouse-agent")
                .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                .with_attribute(KeyValue::new("service.instance.id", settings.broker.agent_id.clone()))
                .build();
            let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(prometheus);
            if let Some(endpoint) = &settings.otlp_endpoint {
                let exporter = MetricExporter::builder()
                    .with_tonic()
                    .with_endpoint(endpoint)
                    .with_timeout(PUSH_TIMEOUT)
                    .build()
                    .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
                let pushes = PeriodicReader::builder(exporter).with_interval(settings.otlp_interval).build();
                provider = provider.with_reader(pushes);
            }
            let ledger = settings.metrics.then(|| Ledger::new(settings.prices));
            Ok(Arc::new(Self { registry, provider: provider.build(), ledger }))
        }

        /// The broker's instruments; with `METRICS=false` none.
        pub(crate) fn metrics(&self) -> Metrics {
            let Some(ledger) = &self.ledger else { return Metrics::disabled() };
            Metrics::new(&self.provider.meter("streamhouse"), Arc::clone(ledger))
        }

        /// What counts requests to the object store; with `METRICS=false` nothing does.
        pub(crate) fn store_meter(&self) -> Option<StoreMeter> {
            self.ledger.clone().map(StoreMeter)
        }

        /// A service of objects, with what counts its requests laid over it.
        pub(crate) fn metered(&self, service: Operator) -> Operator {
            match self.store_meter() {
                Some(meter) => service.layer(meter),
                None => service,
            }
        }

        /// What `/metrics` answers.
        ///
        /// # Errors
        /// Two collectors contradict each other.
        pub(crate) fn prometheus_text(&self) -> Result<String> {
            Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
        }

        /// Pushes what is left. Bounded by the push's own time-out.
        pub(crate) async fn finish(self: Arc<Self>) {
            let shut = tokio::task::spawn_blocking(move || self.provider.shutdown()).await;
            if let Ok(Err(error)) = shut {
                tracing::warn!(%error, "the last metrics were not pushed");
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "metrics")]
#[path = "telemetry_tests.rs"]
mod tests;
