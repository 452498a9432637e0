//! The answer to a fetch, encoded by hand so that record batches are written from where they are.
//!
//! kafka-protocol's encoder copies records into one buffer; a fetch of 50 MiB would exist twice. Here the fields around
//! the records go into small pieces, and the records follow as the slices the broker gave. A test decodes every version
//! with kafka-protocol. Source of the layout: FetchResponse.json of Apache Kafka 4.1.

use broker::{DivergingEpoch, limits};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::TopicName;
use uuid::Uuid;

use crate::context::{Context, Endpoint};
use crate::reply;

/// First version with compact lengths, tagged fields and response header 1.
const FLEXIBLE_SINCE: i16 = 12;
/// First version that names topics by id.
const IDS_SINCE: i16 = 13;
/// First version with node endpoints.
const ENDPOINTS_SINCE: i16 = 16;

/// A fetch response. The throttle time is always 0.
#[derive(Debug, Default)]
pub(crate) struct FetchResponse {
    /// Version 7+; below, an error without topics is an empty answer.
    pub(crate) error_code: i16,
    /// Version 7+; 0 = none.
    pub(crate) session_id: i32,
    pub(crate) topics: Vec<TopicResponse>,
    pub(crate) node_endpoints: Vec<Endpoint>,
}

#[derive(Debug)]
pub(crate) struct TopicResponse {
    pub(crate) name: TopicName,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<PartitionResponse>,
}

#[derive(Debug)]
pub(crate) struct PartitionResponse {
    pub(crate) partition: i32,
    pub(crate) error_code: i16,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
    /// `None` = null (read uncommitted). There are no transactions, so the list is empty.
    pub(crate) aborted_transactions: Option<()>,
    /// Record batches, one after the other.
    pub(crate) records: Vec<Bytes>,
    pub(crate) diverging: Option<DivergingEpoch>,
    /// Node id of the agent to ask instead; version 11+.
    pub(crate) preferred_read_replica: Option<i32>,
    /// Leader and epoch, where the client asked the wrong one.
    pub(crate) current_leader: Option<(i32, i32)>,
}

impl PartitionResponse {
    /// Nothing known, nothing read.
    pub(crate) fn new(partition: i32) -> Self {
        Self {
            partition,
            error_code: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            records: Vec::new(),
            diverging: None,
            preferred_read_replica: None,
            current_leader: None,
        }
    }
}

impl FetchResponse {
    pub(crate) fn has_error(&self) -> bool {
        self.error_code != 0
            || self.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
    }

    /// Adds where the leaders that partitions name can be reached.
    pub(crate) fn name_leaders(&mut self, context: &Context) {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let leaders: Vec<i32> = partitions.filter_map(|partition| Some(partition.current_leader?.0)).collect();
        if !leaders.is_empty() {
            let mut endpoints = context.endpoints(&context.broker.cluster());
            endpoints.retain(|endpoint| leaders.contains(&endpoint.node_id));
            self.node_endpoints = endpoints;
        }
    }

    /// The whole frame in pieces; `None` if it is larger than a frame may be.
    pub(crate) fn encode(self, version: i16, correlation_id: i32) -> Option<Vec<Bytes>> {
        let mut out = Pieces::default();
        let flexible = version >= FLEXIBLE_SINCE;
        out.put_i32(0);
        if version >= 7 {
            out.put_i16(self.error_code);
            out.put_i32(self.session_id);
        }
        out.put_count(flexible, self.topics.len())?;
        for topic in self.topics {
            out.put_topic(version, topic)?;
        }
        if flexible {
            if version >= ENDPOINTS_SINCE && !self.node_endpoints.is_empty() {
                let endpoints = encoded_endpoints(&self.node_endpoints)?;
                out.put_slice(&[1, 0]);
                out.put_varint(endpoints.len())?;
                out.put_slice(&endpoints);
            } else {
                out.put_slice(&[0]);
            }
        }
        out.into_frame(correlation_id, reply::header_bytes(i16::from(flexible)))
    }
}

fn encoded_endpoints(endpoints: &[Endpoint]) -> Option<Bytes> {
    let mut out = Pieces::default();
    out.put_count(true, endpoints.len())?;
    for endpoint in endpoints {
        out.put_i32(endpoint.node_id);
        out.put_compact_text(&endpoint.host)?;
        out.put_i32(endpoint.port);
        out.put_compact_text(&endpoint.rack)?;
        out.put_slice(&[0]);
    }
    Some(out.open.freeze())
}

/// Pieces of a frame: those that are done, and one that is written to.
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    done_bytes: usize,
    open: BytesMut,
}

impl Pieces {
    fn put_i16(&mut self, value: i16) {
        self.open.put_i16(value);
    }
    fn put_i32(&mut self, value: i32) {
        self.open.put_i32(value);
    }
    fn put_i64(&mut self, value: i64) {
        self.open.put_i64(value);
    }
    fn put_slice(&mut self, bytes: &[u8]) {
        self.open.put_slice(bytes);
    }

    fn put_varint(&mut self, value: usize) -> Option<()> {
        let mut value = u32::try_from(value).ok()?;
        while value >= 0x80 {
            self.open.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.open.put_u8(value.to_le_bytes()[0]);
        Some(())
    }

    fn put_count(&mut self, flexible: bool, count: usize) -> Option<()> {
        if flexible {
            self.put_varint(count + 1)
        } else {
            self.open.put_i32(i32::try_from(count).ok()?);
            Some(())
        }
    }

    fn put_compact_text(&mut self, text: &str) -> Option<()> {
        self.put_varint(text.len() + 1)?;
        self.put_slice(text.as_bytes());
        Some(())
    }

    fn put_topic(&mut self, version: i16, topic: TopicResponse) -> Option<()> {
        let flexible = version >= FLEXIBLE_SINCE;
        if version >= IDS_SINCE {
            self.put_slice(topic.id.as_bytes());
        } else if flexible {
            self.put_compact_text(&topic.name)?;
        } else {
            self.put_i16(i16::try_from(topic.name.len()).ok()?);
            self.put_slice(topic.name.as_bytes());
        }
        self.put_count(flexible, topic.partitions.len())?;
        for partition in topic.partitions {
            self.put_partition(version, partition)?;
        }
        if flexible {
            self.put_slice(&[0]);
        }
        Some(())
    }

    fn put_partition(&mut self, version: i16, partition: PartitionResponse) -> Option<()> {
        let flexible = version >= FLEXIBLE_SINCE;
        self.put_i32(partition.partition);
        self.put_i16(partition.error_code);
        self.put_i64(partition.high_watermark);
        self.put_i64(partition.last_stable_offset);
        if version >= 5 {
            self.put_i64(partition.log_start_offset);
        }
        match partition.aborted_transactions {
            Some(()) => self.put_count(flexible, 0)?,
            None if flexible => self.put_varint(0)?,
            None => self.put_i32(-1),
        }
        if version >= 11 {
            self.put_i32(partition.preferred_read_replica.unwrap_or(-1));
        }
        self.put_count(flexible, partition.records.iter().map(Bytes::len).sum())?;
        for records in partition.records {
            self.put_records(records);
        }
        if flexible {
            self.put_tagged(partition.diverging, partition.current_leader);
        }
        Some(())
    }

    fn put_tagged(&mut self, diverging: Option<DivergingEpoch>, current_leader: Option<(i32, i32)>) {
        let count = u8::from(diverging.is_some()) + u8::from(current_leader.is_some());
        self.put_slice(&[count]);
        if let Some(diverging) = diverging {
            self.put_slice(&[0, 13]); // tag, size
            self.put_i32(diverging.epoch);
            self.put_i64(diverging.end_offset);
            self.put_slice(&[0]);
        }
        if let Some((leader, epoch)) = current_leader {
            self.put_slice(&[1, 9]); // tag, size
            self.put_i32(leader);
            self.put_i32(epoch);
            self.put_slice(&[0]);
        }
    }

    fn put_records(&mut self, records: Bytes) {
        self.end_open();
        self.done_bytes += records.len();
        self.done.push(records);
    }

    fn end_open(&mut self) {
        if !self.open.is_empty() {
            let open = self.open.split().freeze();
            self.done_bytes += open.len();
            self.done.push(open);
        }
    }

    fn into_frame(mut self, correlation_id: i32, header_bytes: usize) -> Option<Vec<Bytes>> {
        self.end_open();
        let length = header_bytes + self.done_bytes;
        if length > limits::FRAME_BYTES_MAX {
            return None;
        }
        let mut header = BytesMut::with_capacity(4 + header_bytes);
        reply::put_header(&mut header, i32::try_from(length).ok()?, correlation_id, header_bytes);
        self.done.insert(0, header.freeze());
        Some(self.done)
    }
}

#[cfg(test)]
#[path = "fetch_response_tests.rs"]
mod tests;
