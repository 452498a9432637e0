//! Requests and answers of every API and version, as Apache Kafka's own definitions write them, through our codec.
//!
//! The bodies are written by `compat-tests/oracle/bodies.py`: random values, encoded by an interpreter of the JSON definitions
//! in Kafka's client that shares nothing with the protocol crate. Each must be walked, decoded to its last byte, and encoded
//! to the same bytes again. A line of a file is `request|answer API version hex`. `KAFKA_BODIES=file` reads another file.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;

use crate::api::{APIS, Api};
use crate::named_by_id;
use crate::preflight::walk;

#[path = "../tests/codec/mod.rs"]
mod codec;

use codec::{Side, again};

/// Decodes a request as the dispatcher does, and encodes it again if it decodes.
pub(crate) fn decoded(key: ApiKey, body: &mut Bytes, version: i16) -> Option<BytesMut> {
    // Requests of these are not the protocol crate's to write.
    fn by_id<R>(body: &mut Bytes, decode: impl Fn(&mut Bytes) -> Option<R>) -> Option<BytesMut> {
        let before = body.clone();
        decode(body).map(|_| BytesMut::from(&before[..]))
    }
    match key {
        ApiKey::OffsetCommit if version >= named_by_id::BY_ID_SINCE => by_id(body, named_by_id::offset_commit),
        ApiKey::OffsetFetch if version >= named_by_id::BY_ID_SINCE => by_id(body, named_by_id::offset_fetch),
        key => again(Side::Request, key, version, body),
    }
}

#[expect(clippy::disallowed_methods, reason = "the file of a longer run")]
fn bodies() -> String {
    let ours = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka-bodies.txt");
    let file = std::env::var("KAFKA_BODIES").map_or_else(|_| ours(), PathBuf::from);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Why a body is not the same to us as to Kafka.
fn difference(side: Side, api: &Api, version: i16, body: &[u8]) -> Result<(), &'static str> {
    let mut left = Bytes::copy_from_slice(body);
    let encoded = match side {
        Side::Answer => again(side, api.key, version, &mut left),
        Side::Request => {
            let mut frame = BytesMut::from(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..]); // no client id
            if version >= api.flexible_since {
                frame.extend_from_slice(&[0]);
            }
            let body_at = frame.len();
            frame.extend_from_slice(body);
            match walk(api, version, &frame) {
                Ok(walked) if walked.body_at == body_at => {}
                Ok(_) => return Err("begins elsewhere"),
                Err(_) => return Err("is not walked"),
            }
            decoded(api.key, &mut left, version)
        }
    };
    match encoded {
        None => Err("does not decode"),
        Some(_) if !left.is_empty() => Err("leaves bytes"),
        Some(encoded) if encoded[..] != *body => Err("is encoded to other bytes"),
        Some(_) => Ok(()),
    }
}

#[test]
fn every_body_of_kafkas_definitions_is_the_same_to_us() {
    let (mut wrong, mut seen) = (String::new(), BTreeSet::new());
    for line in bodies().lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (side, name) = (words.next().unwrap(), words.next().unwrap());
        let (version, hex) = (words.next().unwrap().parse().unwrap(), words.next().unwrap_or_default());
        let side = if side == "answer" { Side::Answer } else { Side::Request };
        let Some(api) = APIS.iter().find(|api| api.name == name && api.serves(version)) else { continue };
        seen.insert((name.to_owned(), version, side == Side::Answer));
        if let Err(why) = difference(side, api, version, &unhex(hex)) {
            writeln!(wrong, "{why}: {line}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let versions = APIS.iter().map(|api| usize::try_from(api.max - api.served_min + 1).unwrap()).sum::<usize>();
    assert_eq!(seen.len(), 2 * versions, "a version has no body");
}
