//! The end of a run: the log as a fresh agent reads it, and the bucket and the database as they are, beside each other.

use std::time::Duration;

use broker::{Broker, FetchError, Fetched};
use metadata::{Claim, FoundObject, LeaseRow, RangeRow, Segments, Sessions};
use segment::PartitionKey;
use tokio::time::sleep;

use crate::client::{fetch_request, records_of};
use crate::history::{FinalLog, Key, Op};
use crate::producers::batch;
use crate::world::{COMPACTED, KEPT, LASTING, ORG, RETENTION_BYTES, SHORT, World};

/// Tries of a read that fails.
const TRIES: usize = 50;

/// Reads every lasting partition as `last` has it, and compares the database with the bucket.
pub(crate) async fn audit(world: &World, last: &Broker) {
    for (number, _, partitions) in LASTING {
        for key in (0..partitions).map(|partition| (number, partition)) {
            read_log(world, last, key).await;
            audit_ranges(world, last, key).await;
        }
    }
    over_deleted(world);
    no_garbage_is_left(world, last).await;
}

async fn fetch(world: &World, last: &Broker, key: Key, offset: i64) -> Result<Fetched, FetchError> {
    let mut tries = 0;
    loop {
        let request = fetch_request(world, key, offset, None, Duration::ZERO);
        let result = last.fetch(request).await.remove(0).result;
        tries += 1;
        if tries == TRIES || matches!(result, Ok(_) | Err(FetchError::OffsetOutOfRange { .. })) {
            return result;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn read_log(world: &World, last: &Broker, key: Key) {
    let mut log = FinalLog::default();
    let mut offset = 0;
    loop {
        match fetch(world, last, key, offset).await {
            Ok(fetched) => {
                let records = records_of(&fetched);
                log.end = fetched.high_watermark;
                let Some((last, _)) = records.last() else { break };
                offset = last + 1;
                log.records.extend(records);
                if offset >= log.end {
                    break;
                }
            }
            Err(FetchError::OffsetOutOfRange { log_start_offset }) if offset == 0 && log_start_offset > 0 => {
                (offset, log.start) = (log_start_offset, log_start_offset);
            }
            Err(error) => {
                world.history.lock().note("unreadable", format!("{key:?}@{offset}: {error}"));
                break;
            }
        }
    }
    world.history.lock().logs.insert(key, log);
}

/// Ranges follow each other up to the partition's end, and each is in its object as it was written, or compacted.
async fn audit_ranges(world: &World, last: &Broker, key: Key) {
    let partition = PartitionKey { organization: ORG, topic_id: world.topic_id(key.0), partition: key.1 };
    let held = world.metadata.held_leases(last.session(), &[partition]).await.expect("memory answers");
    let rows = world.metadata.ranges_from(partition, 0, 1_000_000).await.expect("memory answers");
    let Some(LeaseRow { next_offset, log_start_offset, .. }) = held.first() else {
        return world.history.lock().note("not-led", format!("{key:?} by the last agent"));
    };
    let mut at = rows.first().map_or(*next_offset, |row| row.base_offset);
    if at > *log_start_offset {
        world.history.lock().note("storage", format!("{key:?}: ranges begin at {at}, the log at {log_start_offset}"));
    }
    for row in &rows {
        if row.base_offset != at {
            world.history.lock().note("storage", format!("{key:?}: a range begins at {}, not {at}", row.base_offset));
        }
        at = row.next_offset;
        if let Err(why) = audit_range(world, row, key.0 == COMPACTED.0).await {
            world.history.lock().note("storage", format!("{key:?}@{}: {}: {why}", row.base_offset, row.object_key));
        }
    }
    if at != *next_offset {
        world.history.lock().note("storage", format!("{key:?}: ranges end at {at}, next_offset is {next_offset}"));
    }
}

async fn audit_range(world: &World, row: &RangeRow, is_compacted: bool) -> Result<(), String> {
    let size = world.bucket.stat(&row.object_key).await.map_err(|error| error.kind().to_string())?.content_length();
    if i64::try_from(size) != Ok(row.object_bytes) {
        return Err(format!("{size} bytes instead of {}", row.object_bytes));
    }
    let place = u64::try_from(row.byte_start).expect("positive")
        ..u64::try_from(row.byte_start + row.byte_len).expect("positive");
    let bytes = world.bucket.read_with(&row.object_key).range(place).await.map_err(|error| error.to_string())?;
    let batches = segment::verify_range(&bytes.to_bytes(), row.checksum).map_err(|error| error.to_string())?;
    let (first, end) =
        (batches.first().map(|(header, _)| header.base_offset), batches.last().map(|(header, _)| header.next_offset()));
    let is_within = first >= Some(row.base_offset) && end <= Some(row.next_offset);
    match (first, end) == (Some(row.base_offset), Some(row.next_offset)) || is_compacted && is_within {
        true => Ok(()),
        false => Err(format!("holds {first:?}..{end:?}")),
    }
}

/// Retention leaves what it must, unless somebody asked for more.
fn over_deleted(world: &World) {
    let mut history = world.history.lock();
    for partition in 0..SHORT.2 {
        let key = (SHORT.0, partition);
        let Some(log) = history.logs.get(&key) else { continue };
        let asked = history.events.iter().filter_map(|event| match event.op {
            Op::Delete { key: of, offset } if of == key => Some(offset),
            _ => None,
        });
        let (asked, kept, start) = (asked.max().unwrap_or(0), log.records.len() * batch(0, 0, None).len(), log.start);
        if start > asked && kept < RETENTION_BYTES {
            history.note("over-deleted", format!("{key:?}: {kept} bytes are left from {start}, asked for {asked}"));
        }
    }
    for partition in 0..KEPT.2 {
        let start = history.logs.get(&(KEPT.0, partition)).map_or(0, |log| log.start);
        if start > 0 {
            history.note("over-deleted", format!("{partition} of {} begins at {start}", KEPT.1));
        }
    }
}

/// Once nobody uploads any more, the last agent finds every orphan; what is left has ranges.
async fn no_garbage_is_left(world: &World, last: &Broker) {
    let mut left = Vec::new();
    for _ in 0..20 {
        sleep(Duration::from_millis(500)).await;
        let listed = world.bucket.list_with("org-").recursive(true).await.expect("lists");
        let keys = listed.iter().filter_map(|entry| segment::ObjectKey::parse(entry.path()).ok());
        let found = keys.map(|key| FoundObject {
            session: key.session,
            lane_sequence: key.lane_sequence,
            organization: key.organization,
            object_key: key.to_string(),
        });
        let objects: Vec<_> = found.collect();
        let claims = world.metadata.claim_objects(last.session(), &objects).await.expect("memory answers");
        let unreferenced = objects.into_iter().zip(claims).filter(|(_, claim)| *claim != Claim::Referenced);
        left = unreferenced.map(|(object, claim)| format!("{claim:?} {}", object.object_key)).collect::<Vec<_>>();
        if left.is_empty() {
            return;
        }
    }
    world.history.lock().note("storage", format!("garbage is left: {left:?}"));
}
