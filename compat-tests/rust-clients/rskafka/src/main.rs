//! The checks of rskafka: it has no groups, but produces, fetches (version 4 alone), lists offsets, deletes records.

use std::collections::BTreeMap;
use std::process::ExitCode;

use checks::{Checks, Outcome, address, expect, fresh_name, now_ms};
use chrono::DateTime;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;

const COUNT: usize = 200;

fn record(number: usize, timestamp_ms: i64) -> Record {
    Record {
        key: Some(format!("key-{}", number % 17).into_bytes()),
        value: Some(number.to_string().into_bytes()),
        headers: BTreeMap::from([("trace".to_owned(), format!("header-{number}").into_bytes())]),
        timestamp: DateTime::from_timestamp_millis(timestamp_ms).unwrap_or_default(),
    }
}

async fn new_partition(client: &Client, purpose: &str) -> Result<PartitionClient, rskafka::client::error::Error> {
    let topic = fresh_name(purpose);
    client.controller_client()?.create_topic(&topic, 1, 1, 10_000).await?;
    client.partition_client(topic, 0, UnknownTopicHandling::Retry).await
}

async fn round_trip(client: &Client, codec: Compression) -> Outcome {
    let partition = new_partition(client, "codec").await?;
    let sent: Vec<_> = (0..COUNT).map(|number| record(number, now_ms())).collect();
    partition.produce(sent.clone(), codec).await?;
    let mut got = Vec::new();
    while got.len() < COUNT {
        let (records, _) = partition.fetch_records(got.len() as i64, 1..1_000_000, 1_000).await?;
        got.extend(records.into_iter().map(|read| (read.offset, read.record)));
    }
    expect(got, (0..).zip(sent).collect(), "records")
}

async fn offsets(client: &Client) -> Outcome {
    let partition = new_partition(client, "times").await?;
    let began = now_ms() - 3_600_000;
    for number in 0..3 {
        partition.produce(vec![record(number, began + number as i64 * 60_000)], Compression::NoCompression).await?;
    }
    for (seconds, wanted) in [(-5, 0), (0, 0), (1, 1), (60, 1), (61, 2), (120, 2)] {
        let at = DateTime::from_timestamp_millis(began + seconds * 1_000).unwrap_or_default();
        expect(partition.get_offset(OffsetAt::Timestamp(at)).await?, wanted, &format!("offset at {seconds} s"))?;
    }
    expect(partition.get_offset(OffsetAt::Latest).await?, 3, "end")?;
    partition.delete_records(2, 10_000).await?;
    expect(partition.get_offset(OffsetAt::Earliest).await?, 2, "start after records were deleted")
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut checks = Checks::default();
    let client = match ClientBuilder::new(vec![address()]).build().await {
        Ok(client) => client,
        Err(error) => {
            println!("FAIL rskafka connects: {error}");
            return ExitCode::FAILURE;
        }
    };
    for (name, codec) in [
        ("none", Compression::NoCompression),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        checks
            .check(&format!("keyed {name} records with headers come back in order"), round_trip(&client, codec))
            .await;
    }
    checks.check("offsets are found by time, and the start moves when records are deleted", offsets(&client)).await;
    checks.exit_code()
}
