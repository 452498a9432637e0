//! The same counts arrive by scrape and by push, under the same names.

use std::sync::Arc;
use std::time::Duration;

use broker::FrontEnd;
use broker::costs::{Account, Operation, Purpose, charge};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::Telemetry;
use crate::config::Settings;

/// Hands every push to the test.
struct Receiver(mpsc::Sender<ExportMetricsServiceRequest>);

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.send(request.into_inner()).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn receiver() -> (String, mpsc::Receiver<ExportMetricsServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (pushes, pushed) = mpsc::channel(64);
    let server = tonic::transport::Server::builder().add_service(MetricsServiceServer::new(Receiver(pushes)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (endpoint, pushed)
}

fn settings(flags: &[&str]) -> Settings {
    let words: Vec<&str> = ["agent", "--agent-id", "a-1"].into_iter().chain(flags.iter().copied()).collect();
    Settings::from_arguments(words).unwrap()
}

fn count(telemetry: &Telemetry) {
    let metrics = telemetry.metrics();
    metrics.connection_opened(FrontEnd::Kafka);
    metrics.connection_opened(FrontEnd::Grpc);
    metrics.connection_closed(FrontEnd::Grpc);
    metrics.request(FrontEnd::Kafka, "Produce", 0.002, false);
    metrics.append(10, 1000);
    metrics.object_put(0.004, 1200, true);
    metrics.object_put_hedge();
    metrics.commit(0.001, 1, 8, "committed");
    metrics.tail_bytes(4096);
}

#[tokio::test]
async fn a_scrape_shows_each_metric_once_under_its_documented_name() {
    let telemetry = Telemetry::start(&settings(&[])).unwrap();
    count(&telemetry);
    let text = telemetry.prometheus_text().unwrap();
    for line in [
        "streamhouse_connections{front_end=\"grpc\"} 0",
        "streamhouse_connections{front_end=\"kafka\"} 1",
        "streamhouse_connections_opened_total{front_end=\"kafka\"} 1",
        "streamhouse_request_seconds_count{api=\"Produce\",front_end=\"kafka\",ok=\"true\"} 1",
        "streamhouse_append_records_total 10",
        "streamhouse_append_bytes_total 1000",
        "streamhouse_object_put_seconds_bucket{ok=\"true\",le=\"0.005\"} 1",
        "streamhouse_object_put_seconds_bucket{ok=\"true\",le=\"0.0025\"} 0",
        "streamhouse_commit_ranges_total{outcome=\"committed\"} 8",
        "streamhouse_tail_bytes 4096",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_metric_exists_and_every_metric_is_documented() {
    let telemetry = Telemetry::start(&settings(&[])).unwrap();
    let metrics = telemetry.metrics();
    count(&telemetry);
    metrics.connection_refused(FrontEnd::Kafka);
    metrics.append_rejected("NotLeader");
    metrics.append_acked(0.001, 1);
    metrics.flush(1, 1, 0.0);
    metrics.object_get(0.001, 1, false);
    metrics.cache_read(true, 1);
    metrics.cache_written(1);
    metrics.cache_dropped(1);
    metrics.cache_evicted(1);
    metrics.cache_bytes(1);
    metrics.read_ahead(1, true);
    metrics.object_deleted();
    metrics.records_deleted(1, 1);
    metrics.rewritten(1, 2, 1);
    metrics.rewrite_job("done");
    metrics.compacted(1, 1, 1);
    metrics.compaction_pass("done");
    metrics.groups_loaded(0.1, 1);
    metrics.gave_up();
    metrics.probe(true);
    metrics.fetch(1, 1, 0);
    metrics.fetch_wait(0.1);
    metrics.partitions_led(1);
    metrics.fetch_other_zone(1);
    let topic = broker::TopicId(uuid::Uuid::nil());
    let put = charge(Purpose::Flush, &[(topic, 1)], async { Account::open(Operation::Put, "org-1/flush/x") }).await;
    telemetry.store_meter().unwrap().0.request(&put, Operation::Put, 1);
    let text = telemetry.prometheus_text().unwrap();
    let shown: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next()).collect();
    let page = include_str!("../../../docs/metrics.md");
    let documented: Vec<&str> =
        page.lines().filter_map(|l| l.strip_prefix("| `")).filter_map(|l| l.split('`').next()).collect();
    for name in &shown {
        assert!(documented.contains(name), "{name} is not in docs/metrics.md");
    }
    for name in &documented {
        assert!(shown.contains(name), "docs/metrics.md names {name}, which does not exist");
    }
}

#[tokio::test]
async fn nothing_is_counted_that_nobody_wants() {
    let telemetry = Telemetry::start(&settings(&["--metrics", "false"])).unwrap();
    count(&telemetry);
    assert!(telemetry.store_meter().is_none());
    assert_eq!(telemetry.prometheus_text().unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_metrics_are_pushed_and_the_last_ones_at_the_end() {
    let (endpoint, mut pushed) = receiver().await;
    let flags = ["--otel-exporter-otlp-endpoint", endpoint.as_str(), "--otel-metric-export-interval", "50"];
    let telemetry = Telemetry::start(&settings(&flags)).unwrap();
    count(&telemetry);
    let push = tokio::time::timeout(Duration::from_secs(10), pushed.recv()).await.unwrap().unwrap();
    let names = names(&push);
    assert!(names.contains(&"streamhouse_append_records_total".to_owned()), "{names:?}");
    assert!(names.contains(&"streamhouse_commit_seconds".to_owned()), "{names:?}");
    let resource = push.resource_metrics[0].resource.as_ref().unwrap();
    assert!(resource.attributes.iter().any(|a| a.key == "service.name"));

    // Counted right before the end: the final push has it.
    telemetry.metrics().partitions_led(7);
    Arc::clone(&telemetry).finish().await;
    let mut last = push;
    while let Ok(push) = pushed.try_recv() {
        last = push;
    }
    assert!(self::names(&last).contains(&"streamhouse_partitions_led".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let telemetry = Telemetry::start(&settings(&["--otel-exporter-otlp-endpoint", &endpoint])).unwrap();
    count(&telemetry);
    tokio::time::timeout(Duration::from_secs(8), telemetry.finish()).await.unwrap();
}

fn names(push: &ExportMetricsServiceRequest) -> Vec<String> {
    let scopes = push.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
    scopes.flat_map(|s| &s.metrics).map(|m| m.name.clone()).collect()
}
