//! A broker with its stores in the test's hands, and the few requests that all tests make.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker::{
    AppendError, AppendRequest, Appended, Broker, BrokerSettings, CreateTopic, FetchError, FetchPartition,
    FetchRequest, Fetched, IsolationLevel, Metrics, NewRecord, OrganizationId, PendingAppend, Topic, encode_batch,
};
use bytes::Bytes;
use metadata::MemoryStore;
use opendal::Operator;
use opendal::services::Memory;
use segment::RecordBatchHeader;

use crate::gated_store::Gate;

pub(crate) const ORG: OrganizationId = OrganizationId::DEFAULT;
/// The database's clock, in ms.
pub(crate) const NOW: i64 = 1_700_000_000_000;
/// (producer id, epoch, base sequence).
pub(crate) type Sequence = (i64, i16, i32);

/// Metadata and object store that outlive a broker.
pub(crate) struct Rig {
    pub(crate) metadata: Arc<MemoryStore>,
    pub(crate) store: Operator,
    pub(crate) gate: Gate,
    /// What is behind the gate.
    bucket: Operator,
    /// Each start has a seed of its own: two brokers must not draw the same topic ids.
    starts: AtomicU64,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let gate = Gate::open();
        let bucket = Operator::new(Memory::default()).expect("memory store");
        Self {
            metadata: Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), || NOW)),
            store: bucket.clone().layer(gate.clone()),
            gate,
            bucket,
            starts: AtomicU64::new(0),
        }
    }

    pub(crate) async fn start(&self) -> Broker {
        self.start_with(BrokerSettings::for_tests("a")).await
    }

    pub(crate) async fn start_with(&self, settings: BrokerSettings) -> Broker {
        self.start_on(self.store.clone(), settings).await
    }

    /// A successor, which collects garbage without grace and fences an agent whose object waits at the gate: between the object
    /// and the swap of its rows.
    pub(crate) async fn fence_while_it_writes(&self) -> Broker {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let collecting = BrokerSettings {
            garbage_interval: Duration::from_secs(1),
            garbage_grace: Duration::ZERO,
            ..BrokerSettings::for_tests("a")
        };
        let successor = self.start_with(collecting).await;
        self.gate.open_wide();
        successor
    }

    /// One whose way to the store has a gate of its own.
    pub(crate) async fn start_behind(&self, gate: &Gate, settings: BrokerSettings) -> Broker {
        self.start_on(self.bucket.clone().layer(gate.clone()), settings).await
    }

    async fn start_on(&self, store: Operator, settings: BrokerSettings) -> Broker {
        let metadata = Arc::clone(&self.metadata) as _;
        let metrics = Arc::new(Metrics::default());
        let seed = self.starts.fetch_add(1, Ordering::Relaxed);
        Broker::start(settings, metadata, store, metrics, seed).await.expect("broker starts")
    }
}

pub(crate) async fn create(broker: &Broker, name: &str, partitions: i32) -> Arc<Topic> {
    create_with(broker, name, partitions, &[]).await
}

pub(crate) async fn create_with(broker: &Broker, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Arc<Topic> {
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    let request = CreateTopic {
        organization: ORG,
        name: name.to_owned(),
        partition_count: partitions,
        replication_factor: -1,
        configs,
        validate_only: false,
    };
    broker.create_topic(request).await.expect("topic is created")
}

pub(crate) fn record(value: &[u8]) -> NewRecord {
    NewRecord { key: None, value: Some(Bytes::copy_from_slice(value)), timestamp: NOW, headers: Vec::new() }
}

/// A batch of one record whose value is this number.
pub(crate) fn batch(value: u64, producer: Option<Sequence>) -> Bytes {
    encode_at(NOW, value, producer)
}

/// The same, with this CreateTime in ms.
pub(crate) fn encode_at(timestamp: i64, value: u64, producer: Option<Sequence>) -> Bytes {
    encode_batch(&[NewRecord { timestamp, ..record(&value.to_be_bytes()) }], producer).expect("encodes")
}

pub(crate) fn request(topic: &Topic, partition: i32, batch: Bytes) -> AppendRequest {
    AppendRequest {
        organization: ORG,
        topic_id: topic.topic_id,
        partition,
        batch,
        zstd_allowed: true,
        expected_base_offset: None,
        permit: None,
        timeout: Duration::from_secs(30),
    }
}

/// Puts a value in line on partition 0.
pub(crate) async fn place(broker: &Broker, topic: &Topic, value: u64, producer: Option<Sequence>) -> PendingAppend {
    broker.append(request(topic, 0, batch(value, producer))).await.expect("placed")
}

/// Appends a value to partition 0 and waits for its fate.
pub(crate) async fn append(
    broker: &Broker,
    topic: &Topic,
    value: u64,
    producer: Option<Sequence>,
) -> Result<Appended, AppendError> {
    broker.append(request(topic, 0, batch(value, producer))).await?.acked().await
}

/// Appends a value to partition 0, again and again while it is told that nothing was written.
pub(crate) async fn append_until_acked(
    broker: &Broker,
    topic: &Topic,
    value: u64,
    producer: Option<Sequence>,
) -> Appended {
    let mut refused = None;
    for _ in 0..1_000 {
        match append(broker, topic, value, producer).await {
            Ok(appended) => return appended,
            Err(error) => {
                let is_retriable =
                    matches!(error, AppendError::NotLeader | AppendError::StoreGaveUp | AppendError::Unavailable);
                assert!(is_retriable, "{error:?}");
                refused = Some(error);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("no ack after 1,000 attempts: {refused:?}")
}

pub(crate) fn wanted(topic: &Topic, partition: i32, offset: i64, max_bytes: usize) -> FetchPartition {
    FetchPartition {
        topic_id: topic.topic_id,
        partition,
        fetch_offset: offset,
        max_bytes,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    }
}

pub(crate) fn fetch_request(partitions: Vec<FetchPartition>, max_bytes: usize, max_wait: Duration) -> FetchRequest {
    let isolation = IsolationLevel::ReadUncommitted;
    FetchRequest { organization: ORG, max_wait, min_bytes: 1, max_bytes, isolation, rack: None, partitions }
}

/// Fetches partition 0 from `offset`.
pub(crate) async fn fetch(
    broker: &Broker,
    topic: &Topic,
    offset: i64,
    max_wait: Duration,
) -> Result<Fetched, FetchError> {
    let request = fetch_request(vec![wanted(topic, 0, offset, 1 << 20)], 1 << 20, max_wait);
    broker.fetch(request).await.remove(0).result
}

/// The batches of a fetch; each is whole and its CRC right.
pub(crate) fn batches(fetched: &Fetched) -> Vec<(RecordBatchHeader, Bytes)> {
    let bytes = Bytes::from(fetched.records.concat());
    assert_eq!(bytes.len(), fetched.record_bytes);
    let batches: Vec<_> = segment::slice_batches(&bytes).collect::<Result<_, _>>().expect("whole batches");
    assert!(batches.iter().all(|(_, batch)| segment::crc_matches(batch)), "corrupt");
    batches
}

/// Every value of a partition (single-record batches), by offset: dense from 0 to the high watermark.
pub(crate) async fn read_all(broker: &Broker, topic: &Topic, partition: i32) -> BTreeMap<i64, u64> {
    let mut found = BTreeMap::new();
    let mut offset = 0;
    loop {
        let request = fetch_request(vec![wanted(topic, partition, offset, 4096)], 4096, Duration::ZERO);
        let fetched = broker.fetch(request).await.remove(0).result.expect("readable");
        for (header, batch) in batches(&fetched) {
            assert_eq!(header.base_offset, offset, "dense");
            let value = batch.slice(batch.len() - 9..batch.len() - 1);
            found.insert(offset, u64::from_be_bytes(value.as_ref().try_into().expect("8 bytes")));
            offset = header.next_offset();
        }
        if offset == fetched.high_watermark {
            return found;
        }
        assert!(!fetched.records.is_empty(), "there is more");
    }
}
