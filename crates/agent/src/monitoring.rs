//! What those who watch an agent see of it, from before it opens anything until after its drain: HTTP and pushed metrics.
//!
//! Without the feature `metrics` there is nothing to see, and what is here does nothing.

#[cfg(not(feature = "metrics"))]
pub(crate) use hidden::Monitoring;
#[cfg(feature = "metrics")]
pub(crate) use shown::Monitoring;

#[cfg(feature = "metrics")]
mod shown {
    use std::sync::Arc;

    use anyhow::Result;
    use broker::{Broker, Metrics};
    use opendal::Operator;
    use tokio::net::TcpListener;
    use tokio::time::{Instant, timeout_at};
    use tokio_util::sync::CancellationToken;

    use crate::config::Settings;
    use crate::http::{self, Status};
    use crate::telemetry::Telemetry;

    /// See the module.
    pub(crate) struct Monitoring {
        status: Arc<Status>,
        telemetry: Arc<Telemetry>,
        stop_http: CancellationToken,
    }

    impl Monitoring {
        /// Of an agent that has not started yet.
        ///
        /// # Errors
        /// The receiver of metrics cannot be parsed.
        pub(crate) fn new(settings: &Settings) -> Result<Self> {
            let telemetry = Telemetry::start(settings)?;
            let status = Status::new(Arc::clone(&telemetry));
            Ok(Self { status, telemetry, stop_http: CancellationToken::new() })
        }

        /// Answers HTTP from now on.
        pub(crate) fn serve(&self, listener: TcpListener) {
            tokio::spawn(http::serve(listener, Arc::clone(&self.status), self.stop_http.clone()));
        }

        /// The broker's instruments.
        pub(crate) fn metrics(&self) -> Metrics {
            self.telemetry.metrics()
        }

        /// A service of objects, with what counts its requests laid over it.
        pub(crate) fn metered(&self, service: Operator) -> Operator {
            self.telemetry.metered(service)
        }

        /// From now on `/ready` says what the broker says.
        pub(crate) fn started(&self, broker: Broker) {
            self.status.started(broker);
        }

        /// From now on `/ready` says 503 and why.
        pub(crate) fn not_ready(&self, why: impl Into<String>) {
            self.status.not_ready(why.into());
        }

        /// Pushes the last metrics and ends HTTP.
        pub(crate) async fn finish(self, deadline: Instant) {
            if timeout_at(deadline, self.telemetry.finish()).await.is_err() {
                tracing::warn!("no time was left to push the last metrics");
            }
            self.stop_http.cancel();
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod hidden {
    use anyhow::Result;
    use broker::{Broker, Metrics};
    use opendal::Operator;
    use tokio::time::Instant;

    use crate::config::Settings;

    /// See the module.
    pub(crate) struct Monitoring;

    impl Monitoring {
        pub(crate) fn new(_: &Settings) -> Result<Self> {
            Ok(Self)
        }

        pub(crate) fn metrics(&self) -> Metrics {
            Metrics::disabled()
        }

        pub(crate) fn metered(&self, service: Operator) -> Operator {
            service
        }

        pub(crate) fn started(&self, _: Broker) {}

        pub(crate) fn not_ready(&self, _: impl Into<String>) {}

        pub(crate) async fn finish(self, _: Instant) {}
    }
}
