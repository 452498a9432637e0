//! Tests of `cold`: what is kept and what is not, what damage does, and old plans.

use metadata::{
    MemoryStore, NewTopic, RangeCommit, RangeOutcome, Registration, SegmentCommit, Segments, Sessions, Topics,
};
use opendal::services::Memory;
use segment::{OrganizationId, SessionId, TopicId};

use super::*;

const ORGANIZATION: OrganizationId = OrganizationId::DEFAULT;
const KEY: PartitionKey =
    PartitionKey { organization: ORGANIZATION, topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: 0 };
const TURN: Turn = Turn { partitions: 1, is_picky: false, pace: None };

/// A reader with its stores in the test's hands.
struct Rig {
    reader: Arc<ColdReader>,
    metadata: Arc<MemoryStore>,
    store: Operator,
    session: SessionId,
    committed: i64,
}

impl Rig {
    async fn new(ranges: usize) -> Self {
        Self::with_cache(ranges, DiskCache::off()).await
    }

    async fn with_cache(ranges: usize, disk: DiskCache) -> Self {
        let metadata = Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), || 0));
        let store = Operator::new(Memory::default()).expect("memory store");
        let memory = ColdMemory { ranges, blocks: ranges, answers: 1 << 20 };
        let reader = ColdReader::new(Arc::clone(&metadata) as _, store.clone(), disk, Arc::default(), memory);
        let topic = NewTopic {
            organization: ORGANIZATION,
            topic_id: KEY.topic_id,
            name: "t".to_owned(),
            partition_count: 1,
            agent_group: "default".to_owned(),
            replication_factor: 1,
            configs: std::collections::BTreeMap::new(),
        };
        metadata.create_topic(topic).await.expect("created");
        let registration = Registration {
            agent_id: "a".to_owned(),
            group: "default".to_owned(),
            zone: String::new(),
            managed_topics: String::new(),
            kafka_address: String::new(),
            grpc_address: String::new(),
            accepts_leases: true,
        };
        let session = metadata.open_session(&registration).await.expect("opened").session;
        metadata.acquire_leases(session, &[KEY]).await.expect("acquired");
        Self { reader: Arc::new(reader), metadata, store, session, committed: 0 }
    }

    /// Puts a batch of one record with this offset into an object.
    async fn object(&self, object_key: &str, offset: Offset) -> RangeRow {
        let record = segment::NewRecord { key: None, value: Some(Bytes::new()), timestamp: 0, headers: Vec::new() };
        let batch = segment::encode_batch(&[record], None).expect("encodes");
        let header = RecordBatchHeader::parse(&batch).expect("parses");
        let mut builder = segment::SegmentBuilder::new(segment::SegmentIdentity {
            cluster_id: uuid::Uuid::from_u128(7),
            organization: ORGANIZATION,
            session: self.session,
            lane_sequence: 0,
            committed_through: -1,
            written_at: 0,
        });
        builder.begin_range(KEY, 0, String::new());
        let (placed, stored) = segment::place(&batch, &header, offset, 0, None);
        builder.push(placed, &stored);
        let mut finished = builder.finish();
        let range = finished.ranges.remove(0);
        self.store.write(object_key, opendal::Buffer::from(finished.chunks)).await.expect("written");
        RangeRow {
            base_offset: offset,
            next_offset: offset + 1,
            leader_epoch: 0,
            object_key: object_key.to_owned(),
            byte_start: i64::try_from(range.byte_start).expect("small"),
            byte_len: i64::try_from(range.byte_len).expect("small"),
            checksum: range.checksum,
            max_timestamp: 0,
            object_bytes: i64::try_from(finished.object_bytes).expect("small"),
        }
    }

    /// The same, committed.
    async fn commit(&mut self, object_key: &str) -> RangeRow {
        let row = self.object(object_key, self.committed).await;
        let range = RangeCommit {
            key: KEY,
            leader_epoch: 0,
            base_offset: row.base_offset,
            next_offset: row.next_offset,
            byte_start: row.byte_start,
            byte_len: row.byte_len,
            checksum: row.checksum,
            max_timestamp: 0,
            append_time: 0,
            producers: Bytes::new(),
            snapshot: None,
        };
        let segment = SegmentCommit {
            lane_sequence: self.committed,
            object_key: object_key.to_owned(),
            organization: ORGANIZATION,
            object_bytes: row.object_bytes,
            ranges: vec![range],
        };
        let outcome = self.metadata.commit_segments(self.session, &[segment]).await.expect("answered");
        assert_eq!(outcome.segments, [[RangeOutcome::Accepted]]);
        self.committed += 1;
        row
    }

    async fn read(&self, told: Vec<RangeRow>, offset: Offset, bytes_max: usize) -> Result<ColdAnswer, ColdError> {
        let share = self.reader.share(100, &TURN).await.expect("nobody else has any");
        self.reader.read(ColdRead { key: KEY, told, offset, end: self.committed, bytes_max }, &share, false).await
    }

    /// Nothing of it is in memory any more.
    fn forget(&self, row: &RangeRow) {
        self.reader.ranges.forget(&id_of(row));
        self.reader.objects.forget(row);
    }
}

fn offsets(answer: &ColdAnswer) -> Vec<Offset> {
    answer.batches.iter().map(|batch| batch.header.base_offset).collect()
}

#[tokio::test]
async fn a_range_is_kept() {
    let rig = Rig::new(1 << 20).await;
    let row = rig.object("a", 0).await;
    let first = rig.reader.range(&row).await.expect("read");
    rig.store.delete("a").await.expect("deleted");
    assert!(Arc::ptr_eq(&first, &rig.reader.range(&row).await.expect("from memory")));
    assert!(rig.reader.background_range(&row).await.is_ok(), "for background work too");
}

#[tokio::test]
async fn background_work_leaves_nothing_behind() {
    let rig = Rig::new(1 << 20).await;
    let row = rig.object("a", 0).await;
    assert_eq!(rig.reader.background_range(&row).await.expect("read").len(), 1);
    assert_eq!(rig.reader.ranges.counts().0, 0);
}

#[tokio::test]
async fn a_read_that_fails_uses_up_nothing_and_is_tried_again() {
    let rig = Rig::new(1 << 20).await;
    let row = rig.object("a", 0).await;
    rig.store.delete("a").await.expect("deleted");
    assert!(matches!(rig.reader.range(&row).await, Err(ColdError::Gone(_))));
    assert_eq!(rig.reader.ranges.counts(), (0, 0, 0, 0));
    rig.object("a", 0).await;
    assert_eq!(rig.reader.range(&row).await.expect("read").len(), 1);
}

#[tokio::test]
async fn damaged_bytes_are_never_served_nor_kept() {
    let rig = Rig::new(1 << 20).await;
    let row = rig.object("a", 0).await;
    let damaged = RangeRow { checksum: row.checksum ^ 1, ..row.clone() };
    assert!(matches!(rig.reader.range(&damaged).await, Err(ColdError::Damaged { .. })));
    assert_eq!(rig.reader.ranges.counts(), (0, 0, 0, 0));
    // Damaged where it is kept in between: read again from the store.
    let bytes = rig.store.read("a").await.expect("read").to_vec();
    rig.store.write("a", bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).await.expect("written");
    assert!(rig.reader.range(&row).await.is_err());
    rig.store.write("a", bytes).await.expect("written");
    assert!(rig.reader.range(&row).await.is_ok());
}

#[tokio::test]
async fn damage_in_the_disk_cache_is_a_miss() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = crate::cache::CacheSettings { folder: folder.path().to_owned(), bytes_max: 1 << 20 };
    let disk = DiskCache::open(Some(&settings), uuid::Uuid::from_u128(7), 1 << 20, &Arc::default()).await;
    let rig = Rig::with_cache(1 << 20, disk.clone()).await;
    let row = rig.object("a", 0).await;
    rig.reader.range(&row).await.expect("read");
    let file = folder.path().join(format!("a@0-{}", row.object_bytes));
    while !file.exists() || disk.used() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let whole = std::fs::read(&file).expect("read");
    std::fs::write(&file, vec![0; whole.len()]).expect("written");
    rig.reader.ranges.forget(&id_of(&row));
    rig.reader.objects.forget_in_memory(&row);
    assert_eq!(rig.reader.range(&row).await.expect("from the store").len(), 1);
    while !file.exists() || std::fs::read(&file).expect("read") != whole {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // From here on the disk alone has it.
    rig.store.delete("a").await.expect("deleted");
    rig.reader.ranges.forget(&id_of(&row));
    rig.reader.objects.forget_in_memory(&row);
    while disk.used() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(rig.reader.range(&row).await.expect("from the disk").len(), 1);
}

#[tokio::test]
async fn a_range_that_cannot_be_is_refused() {
    let rig = Rig::new(1 << 20).await;
    let row = rig.object("a", 0).await;
    for (byte_start, byte_len) in [(-1, 10), (8, -1), (8, 0), (8, i64::MAX), (i64::MAX, 10), (i64::MIN, i64::MIN)] {
        let wrong = RangeRow { byte_start, byte_len, ..row.clone() };
        assert!(rig.reader.range(&wrong).await.is_err(), "{byte_start} {byte_len}");
    }
    let beyond = RangeRow { object_bytes: 3, ..row.clone() };
    assert!(rig.reader.range(&beyond).await.is_ok(), "a size that cannot be is not used");
}

#[tokio::test]
async fn an_offset_that_no_range_holds_is_an_error_and_not_an_end() {
    let rig = Rig::new(1 << 20).await;
    let share = rig.reader.share(100, &TURN).await.expect("nobody else has any");
    let wanted = ColdRead { key: KEY, told: Vec::new(), offset: 0, end: 10, bytes_max: 100 };
    assert!(matches!(rig.reader.read(wanted, &share, false).await, Err(ColdError::Store(_))));
}

#[tokio::test]
async fn an_object_that_is_gone_means_that_what_was_told_is_old() {
    let mut rig = Rig::new(1 << 20).await;
    let old = rig.object("old", 0).await;
    rig.commit("new").await;
    rig.store.delete("old").await.expect("deleted");
    let answer = rig.read(vec![old], 0, 1000).await.expect("planned again");
    assert_eq!((offsets(&answer), answer.replanned), (vec![0], true));
}

#[tokio::test]
async fn an_object_that_is_gone_means_that_what_was_known_is_old() {
    let mut rig = Rig::new(1 << 20).await;
    let first = rig.commit("a").await;
    let second = rig.commit("b").await;
    let answer = rig.read(Vec::new(), 0, usize::try_from(first.byte_len).expect("small")).await.expect("read");
    assert_eq!(offsets(&answer), [0]);
    // The reader knows where the second range was; since then it has moved.
    rig.forget(&second);
    {
        let mut readers = rig.reader.readers.lock();
        let mut reader = readers.take(KEY, 1);
        assert_eq!(reader.rows.len(), 1);
        reader.rows[0].object_key = "before".to_owned();
        readers.put(KEY, reader);
    }
    let answer = rig.read(Vec::new(), 1, 1000).await.expect("planned again");
    assert_eq!((offsets(&answer), answer.replanned), (vec![1], true));
}

#[tokio::test]
async fn what_was_read_before_a_gap_is_an_answer() {
    let mut rig = Rig::new(1 << 20).await;
    rig.commit("a").await;
    let second = rig.commit("b").await;
    rig.store.delete("b").await.expect("deleted");
    assert_eq!(offsets(&rig.read(Vec::new(), 0, 1000).await.expect("read")), [0]);
    let lost = rig.read(Vec::new(), 1, 1000).await;
    assert!(matches!(lost, Err(ColdError::Gone(_))), "bounded: {lost:?}");
    rig.store.write("b", rig.store.read("a").await.expect("read")).await.expect("written");
    assert!(rig.read(Vec::new(), 1, 1000).await.is_err(), "another range's bytes");
    rig.object("b", second.base_offset).await;
    assert_eq!(offsets(&rig.read(Vec::new(), 1, 1000).await.expect("read")), [1]);
}

#[tokio::test]
async fn what_a_reader_knows_is_served_while_metadata_is_away() {
    let mut rig = Rig::new(1 << 20).await;
    let first = rig.commit("a").await;
    rig.commit("b").await;
    let answer = rig.read(Vec::new(), 0, usize::try_from(first.byte_len).expect("small")).await.expect("read");
    assert_eq!(offsets(&answer), [0]);
    rig.metadata.set_unavailable(true);
    assert_eq!(offsets(&rig.read(Vec::new(), 1, 1000).await.expect("known")), [1]);
    assert!(matches!(rig.read(Vec::new(), 0, 1000).await, Err(ColdError::Metadata(_))), "another reader knows nothing");
}

#[tokio::test(start_paused = true)]
async fn what_was_known_for_some_time_is_looked_up_again() {
    let mut rig = Rig::new(1 << 20).await;
    let first = rig.commit("a").await;
    rig.commit("b").await;
    rig.read(Vec::new(), 0, usize::try_from(first.byte_len).expect("small")).await.expect("read");
    // Since then the second range has moved; where it was, it is still to be found.
    rig.object("before", 1).await;
    let known = |rig: &Rig| rig.reader.readers.lock().at(KEY, 1).expect("known").rows[0].object_key.clone();
    {
        let mut readers = rig.reader.readers.lock();
        let mut reader = readers.take(KEY, 1);
        reader.rows[0].object_key = "before".to_owned();
        readers.put(KEY, reader);
    }
    tokio::time::advance(PLAN_AGE_MAX).await;
    assert_eq!(offsets(&rig.read(Vec::new(), 1, 1000).await.expect("read")), [1]);
    assert_eq!(known(&rig), "before");
    tokio::time::advance(Duration::from_millis(1)).await;
    rig.metadata.set_unavailable(true);
    assert_eq!(offsets(&rig.read(Vec::new(), 1, 1000).await.expect("served while metadata is away")), [1]);
    rig.metadata.set_unavailable(false);
    assert_eq!(offsets(&rig.read(Vec::new(), 1, 1000).await.expect("read")), [1]);
    assert_eq!(known(&rig), "b");
}

#[tokio::test]
async fn what_is_wanted_behind_the_last_batch_of_a_range_is_in_the_next_one() {
    let rig = Rig::new(1 << 20).await;
    let sparse = RangeRow { next_offset: 5, ..rig.object("a", 0).await };
    let next = rig.object("b", 5).await;
    let share = rig.reader.share(100, &TURN).await.expect("nobody else has any");
    for bytes_max in [1, 1000] {
        let told = vec![sparse.clone(), next.clone()];
        let wanted = ColdRead { key: KEY, told, offset: 1, end: 6, bytes_max };
        assert_eq!(offsets(&rig.reader.read(wanted, &share, false).await.expect("read")), [5]);
    }
}

#[tokio::test]
async fn batches_that_lie_one_after_the_other_are_one_slice() {
    let bytes = Bytes::from(
        [1, 2, 3]
            .map(|value| {
                let record = segment::NewRecord {
                    key: None,
                    value: Some(vec![value; 9].into()),
                    timestamp: 0,
                    headers: Vec::new(),
                };
                segment::encode_batch(&[record], None).expect("encodes")
            })
            .concat(),
    );
    let sizes: Vec<_> = segment::slice_batches(&bytes).map(|batch| batch.expect("whole")).collect();
    let mut at = 0;
    let batches = sizes.iter().map(|(header, _)| {
        let batch = ReadBatch { header: *header, slices: [bytes.slice(at..), Bytes::new()] };
        at += batch.bytes();
        batch
    });
    let rig = Rig::new(1 << 20).await;
    let share = rig.reader.share(1 << 20, &TURN).await.expect("nobody else has any");
    let batches = charged(batches.collect(), &share);
    let one = sizes[0].1.len();
    assert_eq!(super::super::slices(&batches), std::slice::from_ref(&bytes));
    assert_eq!(super::super::slices(&batches[1..2]), [bytes.slice(one..2 * one)]);
    let mut apart = batches;
    apart.swap(0, 2);
    assert_eq!(super::super::slices(&apart).concat().len(), bytes.len());
    assert_eq!(super::super::slices(&apart)[0], bytes.slice(2 * one..));
}
