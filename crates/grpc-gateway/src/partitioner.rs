//! Kafka's default partitioner, so that a key lands where a Kafka producer would put it.
//!
//! Source: `Utils.murmur2`, `Utils.toPositive` and `BuiltInPartitioner.partitionForKey` of Apache Kafka's clients.

use std::sync::atomic::{AtomicU32, Ordering};

use broker::PartitionIndex;

/// The partition of a key among `partition_count` (at least 1).
pub(crate) fn partition_for_key(key: &[u8], partition_count: i32) -> PartitionIndex {
    assert!(partition_count > 0, "a topic has at least one partition");
    (murmur2(key).cast_signed() & i32::MAX) % partition_count
}

/// Chooses a partition for the records without a key of one request: the next one each time. (Kafka's producer sticks
/// to a partition per batch; a request is a batch here.)
#[derive(Debug, Default)]
pub(crate) struct RoundRobin(AtomicU32);

impl RoundRobin {
    /// The next partition among `partition_count` (at least 1).
    pub(crate) fn next(&self, partition_count: i32) -> PartitionIndex {
        assert!(partition_count > 0, "a topic has at least one partition");
        (self.0.fetch_add(1, Ordering::Relaxed).cast_signed() & i32::MAX) % partition_count
    }
}

/// The 32-bit MurmurHash2 as Kafka seeds it.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Kafka's lengths are Java ints; a key is never longer than a message.
    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_test() {
        // UtilsTest.testMurmur2
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        }
    }

    #[test]
    fn a_partition_is_the_positive_hash_modulo_the_count() {
        for (key, count) in [(&b"21"[..], 8), (b"foobar", 3), (b"abc", 10_000), (b"", 5), (b"x", 1)] {
            let expected = (i64::from(murmur2(key)) & 0x7fff_ffff) % i64::from(count);
            assert_eq!(i64::from(partition_for_key(key, count)), expected, "{key:?} of {count}");
        }
    }

    #[test]
    fn requests_without_keys_go_round() {
        let round_robin = RoundRobin::default();
        assert_eq!((0..5).map(|_| round_robin.next(3)).collect::<Vec<_>>(), [0, 1, 2, 0, 1]);
    }
}
