//! Holds the schema table against the decoder: both must mean the same bytes, for every API and version.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths in tests are small")]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::api::{APIS, Api};
use crate::bodies_tests::decoded;
use crate::preflight::{Malformed, TAGGED_FIELDS_MAX, walk};
use crate::schema::{Field, Kind};

/// Writes a random request as the schema says.
struct Writer {
    out: BytesMut,
    version: i16,
    flexible: bool,
    random: SmallRng,
    /// Arrays so far.
    arrays: usize,
    /// The array that claims another count than it has.
    lie: Option<(usize, i32)>,
}

impl Writer {
    fn new(version: i16, flexible: bool, arrays: usize, lie: Option<(usize, i32)>) -> Self {
        Self { out: BytesMut::new(), version, flexible, random: SmallRng::seed_from_u64(0), arrays, lie }
    }

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

    fn count(&mut self, count: Option<usize>) {
        let number = self.arrays;
        self.arrays += 1;
        match self.lie {
            Some((liar, claimed)) if liar == number && self.flexible => {
                self.varint(claimed.cast_unsigned().wrapping_add(1))
            }
            Some((liar, claimed)) if liar == number => self.out.put_i32(claimed),
            _ => self.length(count, false),
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
            let random = SmallRng::from_rng(&mut self.random);
            let mut inner = Self { random, ..Self::new(version, true, self.arrays, self.lie) };
            inner.field(field);
            self.arrays = inner.arrays;
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
                self.count(count);
                (0..count.unwrap_or(0)).for_each(|_| self.fields(fields));
            }
            Kind::Texts => {
                self.count(count);
                for _ in 0..count.unwrap_or(0) {
                    self.length(Some(3), true);
                    self.bytes(3);
                }
            }
            Kind::FixedArray(size) => {
                self.count(count);
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
    lying_frame(api, version, seed, None).0
}

/// A random request, and how many arrays it has.
fn lying_frame(api: &Api, version: i16, seed: u64, lie: Option<(usize, i32)>) -> (Bytes, usize) {
    let random = SmallRng::seed_from_u64(seed);
    let mut writer = Writer { random, ..Writer::new(version, version >= api.flexible_since, 0, lie) };
    put_header(&mut writer.out, api, version);
    writer.fields(api.body);
    (writer.out.freeze(), writer.arrays)
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
fn no_array_of_any_request_may_claim_what_the_frame_cannot_hold() {
    let mut lies = 0;
    for (api, version) in every_version() {
        for seed in 0..20 {
            let (_, arrays) = lying_frame(api, version, seed, None);
            for (array, claimed) in (0..arrays).flat_map(|array| [(array, i32::MAX), (array, -2), (array, 1 << 20)]) {
                let (frame, _) = lying_frame(api, version, seed, Some((array, claimed)));
                let walked = walk(api, version, &frame);
                assert!(walked.is_err(), "{} {version} seed {seed} array {array}: {claimed}", api.name);
                lies += 1;
            }
        }
    }
    assert!(lies > 10_000, "{lies}");
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
