//! What the checks need of rdkafka.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use checks::{address, fresh_name};
use futures::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
const WAIT: Duration = Duration::from_secs(30);

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address()).set("log_level", "0");
    config
}

fn consumer(group: &str, settings: &[(&str, &str)]) -> Result<StreamConsumer> {
    let mut config = config();
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    if !settings.contains(&("group.protocol", "consumer")) {
        config.set("heartbeat.interval.ms", "500");
    }
    settings.iter().for_each(|(name, value)| _ = config.set(*name, *value));
    Ok(config.create()?)
}

pub async fn create_topic(name: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config().create()?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for created in admin.create_topics([&topic], &AdminOptions::new()).await? {
        created.map_err(|(name, code)| format!("{name}: {code}"))?;
    }
    Ok(())
}

/// Idempotent; all records are in flight at once.
pub async fn produce(topic: &str, codec: &str, values: Range<usize>, timestamp: Option<i64>) -> Result<()> {
    let producer: FutureProducer =
        config().set("compression.type", codec).set("enable.idempotence", "true").create()?;
    let sends = values.map(|i| {
        let producer = producer.clone();
        async move {
            let (key, value, header) = (format!("key-{}", i % 17), i.to_string(), format!("header-{i}"));
            let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some(&header) });
            let mut record = FutureRecord::to(topic).key(&key).payload(&value).headers(headers);
            record.timestamp = timestamp;
            producer.send(record, WAIT).await.map_err(|(error, _)| error)
        }
    });
    join_all(sends).await.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(())
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// Offset, key, value and header of the first records of partition 0.
pub async fn read(topic: &str, count: usize) -> Result<Vec<(i64, String, String, String)>> {
    let consumer = consumer(&fresh_name("unused"), &[])?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&partitions)?;
    let mut records = Vec::new();
    while records.len() < count {
        let message = tokio::time::timeout(WAIT, consumer.recv()).await??;
        let header = message.headers().and_then(|headers| headers.iter().next().and_then(|header| header.value));
        records.push((message.offset(), text(message.key()), text(message.payload()), text(header)));
    }
    Ok(records)
}

pub fn offset_at(topic: &str, ms: i64) -> Result<i64> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset(topic, 0, Offset::Offset(ms))?;
    let found = consumer(&fresh_name("unused"), &[])?.offsets_for_times(wanted, WAIT)?;
    let partition = found.find_partition(topic, 0).ok_or("no partition in the answer")?;
    Ok(partition.offset().to_raw().unwrap_or(-1))
}

/// A member on a task of its own: it commits each message, then tells of it.
pub struct Member {
    consumer: Arc<StreamConsumer>,
    ended: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Member {
    pub fn join(
        topic: &str,
        group: &str,
        settings: &[(&str, &str)],
        got: impl Fn(String) + Send + 'static,
    ) -> Result<Self> {
        let consumer = Arc::new(consumer(group, settings)?);
        consumer.subscribe(&[topic])?;
        let ended = Arc::new(AtomicBool::new(false));
        let (reader, stopping) = (Arc::clone(&consumer), Arc::clone(&ended));
        let task = tokio::spawn(async move {
            while !stopping.load(Ordering::Relaxed) {
                let Ok(Ok(message)) = tokio::time::timeout(Duration::from_millis(100), reader.recv()).await else {
                    continue;
                };
                if reader.commit_message(&message, CommitMode::Sync).is_ok() {
                    got(text(message.payload()));
                }
            }
        });
        Ok(Self { consumer, ended, task })
    }

    pub fn assigned(&self) -> usize {
        self.consumer.assignment().map_or(0, |assigned| assigned.count())
    }

    /// It leaves the group when it is dropped.
    pub async fn leave(self) {
        self.ended.store(true, Ordering::Relaxed);
        _ = self.task.await;
    }
}
