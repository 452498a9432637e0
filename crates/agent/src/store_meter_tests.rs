//! What is counted is what the store was asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use broker::Metrics;
use broker::costs::charge;
use opendal::{Operator, services};
use s3_server::Server;

use super::*;
use crate::config::{S3Settings, Settings, StoreSettings};
use crate::object_store;
use crate::telemetry::Telemetry;

/// The counts as `/metrics` has them.
struct Counted {
    telemetry: Arc<Telemetry>,
    _metrics: Metrics,
}

impl Counted {
    fn new() -> Self {
        let settings = Settings::from_arguments(["agent", "--cost-prices", "s3-standard"]).unwrap();
        let telemetry = Telemetry::start(&settings).unwrap();
        Self { _metrics: telemetry.metrics(), telemetry }
    }

    /// Sum of the series whose labels contain all of `labels`.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.telemetry.prometheus_text().unwrap();
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let those = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        those.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    fn requests(&self, operation: &str) -> u64 {
        self.of("streamhouse_store_requests_total", operation)
    }

    fn bytes(&self, operation: &str) -> u64 {
        self.of("streamhouse_store_bytes_total", operation)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests or bytes")]
    fn of(&self, name: &str, operation: &str) -> u64 {
        self.sum(name, &[&format!("operation=\"{operation}\"")]) as u64
    }
}

fn memory(counted: &Counted) -> Operator {
    counted.telemetry.metered(Operator::new(services::Memory::default()).unwrap())
}

#[tokio::test]
async fn each_operation_counts_with_its_bytes() {
    let counted = Counted::new();
    let store = memory(&counted);
    store.write("org-1/flush/a", vec![0; 1000]).await.unwrap();
    store.read_with("org-1/flush/a").range(10..110).await.unwrap();
    store.reader("org-1/flush/a").await.unwrap().read(..).await.unwrap();
    store.stat("cluster.json").await.unwrap_err();
    store.list_with("").recursive(true).await.unwrap();
    store.delete("org-1/flush/a").await.unwrap();
    for (operation, requests, bytes) in
        [("put", 1, 1000), ("get", 2, 1100), ("head", 1, 0), ("list", 1, 0), ("delete", 1, 0), ("part", 0, 0)]
    {
        assert_eq!((counted.requests(operation), counted.bytes(operation)), (requests, bytes), "{operation}");
    }
    let requests = "streamhouse_store_requests_total";
    assert_eq!(counted.sum(requests, &["purpose=\"flush\"", "organization=\"default\""]), 1.0);
    assert_eq!(counted.sum(requests, &["purpose=\"marker\"", "operation=\"head\""]), 1.0);
    let dollars = counted.sum("streamhouse_cost_dollars_total", &[]);
    assert!((dollars - (2.0 * 0.005 + 3.0 * 0.0004) / 1000.0).abs() < 1e-12, "{dollars}");
    assert_eq!(counted.sum("streamhouse_store_stored_bytes", &[]), 1000.0, "what the listing of everything found");
}

#[tokio::test]
async fn a_purpose_that_was_said_holds_for_reads_in_pieces_by_other_tasks() {
    let counted = Counted::new();
    let store = memory(&counted);
    store.write("org-1/flush/a", vec![0; 1000]).await.unwrap();
    let read = async { store.reader_with("org-1/flush/a").chunk(100).concurrent(4).await.unwrap().read(..).await };
    charge(Purpose::Rewrite, &[], read).await.unwrap();
    let gets = counted.sum("streamhouse_store_requests_total", &["purpose=\"rewrite\"", "operation=\"get\""]);
    assert_eq!((gets, counted.bytes("get")), (10.0, 1000));
}

#[tokio::test]
async fn an_object_in_parts_is_begun_and_completed() {
    let counted = Counted::new();
    let mut writer = memory(&counted).writer("org-1/data/large").await.unwrap();
    for _ in 0..3 {
        writer.write(vec![0; 5 << 20]).await.unwrap();
    }
    writer.close().await.unwrap();
    assert_eq!((counted.requests("put"), counted.requests("part")), (2, 3));
    assert_eq!((counted.bytes("put"), counted.bytes("part")), (0, 15 << 20));
}

#[tokio::test]
async fn every_attempt_counts_as_the_store_counts_it() {
    let counted = Counted::new();
    let server = Server::new(s3_server::Settings::default());
    let address = server.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
    let s3 = S3Settings {
        bucket: "streamhouse".to_owned(),
        prefix: String::new(),
        endpoint: Some(format!("http://{address}")),
        region: "us-east-1".to_owned(),
        keys: Some(("test".to_owned(), "testtest".to_owned(), None)),
    };
    let metered = |service| counted.telemetry.metered(service);
    let store = object_store::open(&StoreSettings::S3(s3), true, metered).await.unwrap().operator;
    server.change_faults("unavailable=0.2").unwrap();
    for number in 0..40 {
        let key = format!("org-1/flush/{number:04}");
        store.write(&key, "some records").await.unwrap();
        store.read(&key).await.unwrap();
    }
    assert!(server.requests("PUT") > 45, "nothing was tried again");
    assert_eq!(counted.requests("put"), server.requests("PUT"));
    assert_eq!(counted.requests("get"), server.requests("GET"));
    assert_eq!(counted.requests("list"), server.requests("LIST"));
    assert_eq!(counted.requests("delete"), server.requests("DELETE"));
}
