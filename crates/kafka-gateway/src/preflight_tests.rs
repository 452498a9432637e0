//! Holds the schema table against the decoder: both must mean the same bytes, for every API and version.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths in tests are small")]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    ApiKey, ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreateAclsRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeTopicPartitionsRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest,
    LeaveGroupRequest, ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, ListTransactionsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::api::{APIS, Api};
use crate::named_by_id;
use crate::preflight::{Malformed, TAGGED_FIELDS_MAX, walk};
use crate::schema::{Field, Kind};

/// Writes a random request as the schema says.
struct Writer {
    out: BytesMut,
    version: i16,
    flexible: bool,
    random: SmallRng,
}

impl Writer {
    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// `None` = null.
    fn length(&mut self, length: Option<usize>, narrow: bool) {
        let length = length.map_or(-1, |length| length as i32);
        match (self.flexible, narrow) {
            (true, _) => self.varint((length + 1) as u32),
            (false, true) => self.out.put_i16(length as i16),
            (false, false) => self.out.put_i32(length),
        }
    }

    fn bytes(&mut self, count: usize) {
        for _ in 0..count {
            let byte = if count == 1 { self.random.random_range(0..2) } else { self.random.random_range(b'a'..=b'z') };
            self.out.put_u8(byte);
        }
    }

    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        let exists = |field: &&Field| field.exists_in(version);
        for field in fields.iter().filter(|field| field.tag.is_none()).filter(exists) {
            self.field(field);
        }
        if !self.flexible {
            return;
        }
        let tagged: Vec<&Field> = fields.iter().filter(|field| field.tag.is_some()).filter(exists).collect();
        let tagged: Vec<&Field> = tagged.into_iter().filter(|_| self.random.random()).collect();
        let unknown: bool = self.random.random();
        self.varint((tagged.len() + usize::from(unknown)) as u32);
        for field in tagged {
            let mut inner =
                Self { out: BytesMut::new(), version, flexible: true, random: SmallRng::from_rng(&mut self.random) };
            inner.field(field);
            self.varint(field.tag.unwrap());
            self.varint(inner.out.len() as u32);
            self.out.extend_from_slice(&inner.out);
        }
        if unknown {
            self.varint(1_000);
            self.varint(5);
            self.bytes(5);
        }
    }

    fn field(&mut self, field: &Field) {
        let null = self.version >= field.nullable_since && self.random.random_ratio(1, 4);
        let count = if null { None } else { Some(self.random.random_range(0..4)) };
        match field.kind {
            Kind::Fixed(size) => self.bytes(size),
            Kind::Text => {
                self.length(count, true);
                self.bytes(count.unwrap_or(0));
            }
            Kind::Blob => {
                self.length(count, false);
                self.bytes(count.unwrap_or(0));
            }
            Kind::Structs(fields) => {
                self.length(count, false);
                (0..count.unwrap_or(0)).for_each(|_| self.fields(fields));
            }
            Kind::Texts => {
                self.length(count, false);
                for _ in 0..count.unwrap_or(0) {
                    self.length(Some(3), true);
                    self.bytes(3);
                }
            }
            Kind::FixedArray(size) => {
                self.length(count, false);
                self.bytes(size * count.unwrap_or(0));
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::OptionStruct(fields) => {
                if self.random.random() {
                    self.out.put_i8(1);
                    self.fields(fields);
                } else {
                    self.out.put_i8(-1);
                }
            }
        }
    }
}

fn random_frame(api: &Api, version: i16, seed: u64) -> Bytes {
    let flexible = version >= api.flexible_since;
    let mut writer = Writer { out: BytesMut::new(), version, flexible, random: SmallRng::seed_from_u64(seed) };
    put_header(&mut writer.out, api, version);
    writer.fields(api.body);
    writer.out.freeze()
}

fn put_header(out: &mut BytesMut, api: &Api, version: i16) {
    out.put_i16(api.key as i16);
    out.put_i16(version);
    out.put_i32(7);
    out.put_i16(4);
    out.put_slice(b"test");
    if version >= api.flexible_since {
        out.put_u8(0);
    }
}

/// Decodes, encodes again if it decodes, and says how many bytes were left and what was encoded.
fn decoded(key: ApiKey, body: &mut Bytes, version: i16) -> Option<BytesMut> {
    fn through<R: Decodable + Encodable>(body: &mut Bytes, version: i16) -> Option<BytesMut> {
        let request = R::decode(body, version).ok()?;
        let mut out = BytesMut::new();
        request.encode(&mut out, version).ok()?;
        Some(out)
    }
    // Requests of these are not the crate's to write.
    fn by_id<R>(body: &mut Bytes, decode: impl Fn(&mut Bytes) -> Option<R>) -> Option<BytesMut> {
        let before = body.clone();
        decode(body).map(|_| BytesMut::from(&before[..]))
    }
    match key {
        ApiKey::OffsetCommit if version >= named_by_id::BY_ID_SINCE => by_id(body, named_by_id::offset_commit),
        ApiKey::OffsetFetch if version >= named_by_id::BY_ID_SINCE => by_id(body, named_by_id::offset_fetch),
        ApiKey::OffsetCommit => through::<OffsetCommitRequest>(body, version),
        ApiKey::OffsetFetch => through::<OffsetFetchRequest>(body, version),
        ApiKey::OffsetDelete => through::<OffsetDeleteRequest>(body, version),
        ApiKey::JoinGroup => through::<JoinGroupRequest>(body, version),
        ApiKey::SyncGroup => through::<SyncGroupRequest>(body, version),
        ApiKey::Heartbeat => through::<HeartbeatRequest>(body, version),
        ApiKey::LeaveGroup => through::<LeaveGroupRequest>(body, version),
        ApiKey::ListGroups => through::<ListGroupsRequest>(body, version),
        ApiKey::DescribeGroups => through::<DescribeGroupsRequest>(body, version),
        ApiKey::DeleteGroups => through::<DeleteGroupsRequest>(body, version),
        ApiKey::Produce => through::<ProduceRequest>(body, version),
        ApiKey::Fetch => through::<FetchRequest>(body, version),
        ApiKey::ListOffsets => through::<ListOffsetsRequest>(body, version),
        ApiKey::Metadata => through::<MetadataRequest>(body, version),
        ApiKey::FindCoordinator => through::<FindCoordinatorRequest>(body, version),
        ApiKey::ApiVersions => through::<ApiVersionsRequest>(body, version),
        ApiKey::CreateTopics => through::<CreateTopicsRequest>(body, version),
        ApiKey::DeleteTopics => through::<DeleteTopicsRequest>(body, version),
        ApiKey::DeleteRecords => through::<DeleteRecordsRequest>(body, version),
        ApiKey::InitProducerId => through::<InitProducerIdRequest>(body, version),
        ApiKey::OffsetForLeaderEpoch => through::<OffsetForLeaderEpochRequest>(body, version),
        ApiKey::DescribeAcls => through::<DescribeAclsRequest>(body, version),
        ApiKey::CreateAcls => through::<CreateAclsRequest>(body, version),
        ApiKey::DeleteAcls => through::<DeleteAclsRequest>(body, version),
        ApiKey::DescribeConfigs => through::<DescribeConfigsRequest>(body, version),
        ApiKey::AlterConfigs => through::<AlterConfigsRequest>(body, version),
        ApiKey::AlterReplicaLogDirs => through::<AlterReplicaLogDirsRequest>(body, version),
        ApiKey::DescribeLogDirs => through::<DescribeLogDirsRequest>(body, version),
        ApiKey::CreatePartitions => through::<CreatePartitionsRequest>(body, version),
        ApiKey::ElectLeaders => through::<ElectLeadersRequest>(body, version),
        ApiKey::IncrementalAlterConfigs => through::<IncrementalAlterConfigsRequest>(body, version),
        ApiKey::AlterPartitionReassignments => through::<AlterPartitionReassignmentsRequest>(body, version),
        ApiKey::ListPartitionReassignments => through::<ListPartitionReassignmentsRequest>(body, version),
        ApiKey::DescribeClientQuotas => through::<DescribeClientQuotasRequest>(body, version),
        ApiKey::AlterClientQuotas => through::<AlterClientQuotasRequest>(body, version),
        ApiKey::DescribeUserScramCredentials => through::<DescribeUserScramCredentialsRequest>(body, version),
        ApiKey::DescribeCluster => through::<DescribeClusterRequest>(body, version),
        ApiKey::ConsumerGroupHeartbeat => through::<ConsumerGroupHeartbeatRequest>(body, version),
        ApiKey::ConsumerGroupDescribe => through::<ConsumerGroupDescribeRequest>(body, version),
        ApiKey::DescribeProducers => through::<DescribeProducersRequest>(body, version),
        ApiKey::ListTransactions => through::<ListTransactionsRequest>(body, version),
        ApiKey::ListConfigResources => through::<ListConfigResourcesRequest>(body, version),
        ApiKey::DescribeTopicPartitions => through::<DescribeTopicPartitionsRequest>(body, version),
        key => panic!("{key:?} has no decoder here"),
    }
}

fn every_version() -> impl Iterator<Item = (&'static Api, i16)> {
    APIS.iter().flat_map(|api| (api.served_min..=api.max).map(move |version| (api, version)))
}

#[test]
fn what_the_schema_writes_walks_and_decodes_to_its_last_byte() {
    for (api, version) in every_version() {
        for seed in 0..100 {
            let frame = random_frame(api, version, seed);
            let walked = walk(api, version, &frame);
            let walked = walked.unwrap_or_else(|error| panic!("{} {version} seed {seed}: {error}", api.name));
            let mut body = frame.slice(walked.body_at..);
            let encoded = decoded(api.key, &mut body, version);
            let encoded = encoded.unwrap_or_else(|| panic!("{} {version} seed {seed} does not decode", api.name));
            assert!(body.is_empty(), "{} {version} seed {seed}: {} bytes left", api.name, body.len());
            // And what the crate writes walks too.
            let mut again = BytesMut::from(&frame[..walked.body_at]);
            again.extend_from_slice(&encoded);
            let walked = walk(api, version, &again);
            assert!(walked.is_ok(), "{} {version} seed {seed}: {walked:?}", api.name);
        }
    }
}

#[test]
fn no_prefix_of_a_request_walks() {
    for (api, version) in every_version() {
        let frame = random_frame(api, version, 3);
        for length in 8..frame.len() {
            assert!(walk(api, version, &frame[..length]).is_err(), "{} {version} {length}", api.name);
        }
    }
}

#[test]
fn bytes_after_the_body_are_ignored_as_kafka_ignores_them() {
    for (api, version) in every_version() {
        let frame = random_frame(api, version, 3);
        let longer = [&frame[..], &[1, 0, 0]].concat();
        assert!(walk(api, version, &longer).is_ok(), "{} {version}", api.name);
    }
}

#[test]
fn mutated_requests_neither_panic_nor_promise_more_memory_than_their_bytes_are_worth() {
    let mut random = SmallRng::seed_from_u64(11);
    for (api, version) in every_version() {
        for seed in 0..200 {
            let mut frame = random_frame(api, version, seed).to_vec();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(8..frame.len());
                frame[at] = match random.random_range(0..4) {
                    0 => 0xff,
                    1 => 0x7f,
                    2 => 0,
                    _ => random.random(),
                };
            }
            if let Ok(walked) = walk(api, version, &frame) {
                assert!(walked.decoded_bytes <= frame.len() * 512, "{} {version}", api.name);
                let mut body = Bytes::from(frame).slice(walked.body_at..);
                drop(decoded(api.key, &mut body, version));
            }
        }
    }
}

#[test]
fn an_array_that_claims_more_than_the_frame_holds_is_refused() {
    let metadata = Api::of_key(ApiKey::Metadata as i16).unwrap();
    for count in [i32::MAX, 1_000, 2, -2, i32::MIN] {
        let mut frame = BytesMut::new();
        put_header(&mut frame, metadata, 1);
        frame.put_i32(count);
        frame.put_i16(0);
        assert!(walk(metadata, 1, &frame).is_err(), "{count}");
    }
}

#[test]
fn tagged_fields_are_bounded_sorted_and_of_their_size() {
    let api = Api::of_key(ApiKey::ApiVersions as i16).unwrap();
    let with_tags = |tags: &[u8]| {
        let mut frame = BytesMut::new();
        put_header(&mut frame, api, 4);
        frame.put_slice(&[2, b'a', 2, b'a']);
        frame.put_slice(tags);
        walk(api, 4, &frame).map(|_| ())
    };
    assert_eq!(with_tags(&[0]), Ok(()));
    assert_eq!(with_tags(&[2, 1, 1, 9, 5, 0]), Ok(()));
    assert_eq!(with_tags(&[2, 1, 1, 9, 1, 1, 9]), Err(Malformed::Tag));
    assert_eq!(with_tags(&[1, 1, 9, 9]), Err(Malformed::Short));
    assert_eq!(with_tags(&[0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(Malformed::Varint));
    assert_eq!(with_tags(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(Malformed::TooMany));
    let one_too_many = u8::try_from((TAGGED_FIELDS_MAX + 1) >> 7).unwrap();
    assert_eq!(with_tags(&[0xe9, one_too_many]), Err(Malformed::TooMany));
}

#[test]
fn null_passes_only_where_the_protocol_has_it() {
    let metadata = Api::of_key(ApiKey::Metadata as i16).unwrap();
    let mut frame = BytesMut::new();
    put_header(&mut frame, metadata, 0);
    frame.put_i32(-1);
    assert_eq!(walk(metadata, 0, &frame).map(|_| ()), Err(Malformed::Null));
}
