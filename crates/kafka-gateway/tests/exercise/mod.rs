//! What a client may send, to a real connection of a real broker in memory: for the fuzz target `request` and the replay of
//! its corpus.
//!
//! An input is the bytes of one connection: frames with their lengths. A length that does not fit is made to fit, so that a
//! mutation of one byte does not throw away all behind it. Whatever the bytes: nothing panics; answers come in the order of
//! the requests, each readable to its last byte in the version that was asked; what is not answered is a close; another
//! connection is served as before.

#![allow(dead_code, reason = "the fuzz target and the replay each use a part of it")]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use uuid::Uuid;

#[path = "../codec/mod.rs"]
mod codec;
#[path = "../wire/harness.rs"]
pub(crate) mod harness;

use codec::{Side, again};
use harness::{Client, Server, batch, produce};

/// Stands in inputs for the id of the topic "t", which is another one in each broker.
const TOPIC_ID: [u8; 16] = *b"the id of topic ";
/// Longer inputs are cut: all of one fits into the connection's buffer.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// How long (of the runtime's paused time) the next answer may take; a client that waited so long hangs up.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a connection may last whose client hung up.
const END_MAX: Duration = Duration::from_secs(60);
/// What a topic "t" holds in the beginning.
const RECORDS: &[&str] = &["a", "b", "c"];

/// A broker, and what inputs are sent to it.
pub(crate) struct Exercise {
    world: Option<World>,
    inputs: usize,
    inputs_per_broker: usize,
}

struct World {
    runtime: Runtime,
    server: Server,
    honest: Client,
    topic_id: Uuid,
}

/// A request that an answer may belong to.
#[derive(Clone, Copy, Debug)]
struct Asked {
    key: i16,
    version: i16,
    correlation_id: i32,
}

impl Exercise {
    /// Each broker gets so many inputs, then a new one takes its place: what an input found must not take long to find again.
    pub(crate) fn new(inputs_per_broker: usize) -> Self {
        Self { world: None, inputs: 0, inputs_per_broker }
    }

    /// One connection that sends `input`.
    ///
    /// # Panics
    /// If it finds something.
    pub(crate) fn run(&mut self, input: &[u8]) {
        if self.inputs.is_multiple_of(self.inputs_per_broker) {
            self.world = None;
        }
        self.inputs += 1;
        let World { runtime, server, honest, topic_id } = self.world.get_or_insert_with(World::new);
        runtime.block_on(async {
            converse(server, *topic_id, &input[..input.len().min(INPUT_BYTES_MAX)]).await;
            assert!(timeout(END_MAX, honest.works()).await.expect("an honest client is served"), "other answers");
        });
    }
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let (server, honest, topic_id) = runtime.block_on(async {
            let server = Server::start().await;
            let mut honest = server.connect();
            let topic_id = honest.create_topic("t", 2).await;
            honest.call(13, &produce("", topic_id, &[(0, Some(batch(RECORDS)))])).await;
            (server, honest, topic_id)
        });
        Self { runtime, server, honest, topic_id }
    }
}

async fn converse(server: &Server, topic_id: Uuid, input: &[u8]) {
    let (mut client, serving) = server.connection();
    let mut asked = VecDeque::new();
    for (correlation_id, frame) in (0_i32..).zip(frames(input)) {
        let mut frame = with_topic_id(frame, topic_id);
        if let Some(place) = frame.get_mut(4..8) {
            place.copy_from_slice(&correlation_id.to_be_bytes()); // answers are told apart by it
        }
        asked.extend(request_of(&frame));
        let length = u32::try_from(frame.len()).expect("inputs are small").to_be_bytes();
        if client.stream.write_all(&[&length[..], &frame].concat()).await.is_err() {
            break; // closed already, as it may be
        }
    }
    while let Ok(Some(answer)) = timeout(PATIENCE, client.next_frame()).await {
        check_answer(&mut asked, answer);
    }
    drop(client);
    let ended = timeout(END_MAX, serving).await.expect("a connection ends with its client");
    ended.expect("a connection does not panic");
}

/// The frames of an input, without lengths.
fn frames(mut input: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).map_or(rest.len(), |length| length.min(rest.len()));
        let (frame, rest) = rest.split_at(length);
        frames.push(frame);
        input = rest;
    }
    frames
}

fn with_topic_id(frame: &[u8], topic_id: Uuid) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let ends = TOPIC_ID.len()..frame.len() + 1;
    for end in ends {
        let place = &mut frame[end - TOPIC_ID.len()..end];
        if *place == TOPIC_ID {
            place.copy_from_slice(topic_id.as_bytes());
        }
    }
    frame
}

fn request_of(mut frame: &[u8]) -> Option<Asked> {
    Some(Asked {
        key: frame.try_get_i16().ok()?,
        version: frame.try_get_i16().ok()?,
        correlation_id: frame.try_get_i32().ok()?,
    })
}

/// The answer belongs to one of those asked and not yet passed by (a Produce with acks=0 has no answer), and is readable.
fn check_answer(asked: &mut VecDeque<Asked>, mut answer: Bytes) {
    let correlation_id = answer.try_get_i32().expect("an answer has a header");
    let Asked { key, mut version, .. } = loop {
        let next = asked.pop_front().expect("an answer belongs to a request");
        if next.correlation_id == correlation_id {
            break next;
        }
        assert_eq!(next.key, 0, "{next:?} was passed over");
    };
    let key = ApiKey::try_from(key).expect("only APIs that exist are answered");
    if key == ApiKey::ApiVersions && answer.starts_with(&[0, 35]) {
        version = 0;
    }
    if key.response_header_version(version) > 0 {
        assert_eq!(answer.try_get_u8(), Ok(0), "{key:?} {version}: tagged fields in a header");
    }
    let before = answer.clone();
    let encoded = again(Side::Answer, key, version, &mut answer);
    assert!(answer.is_empty(), "{key:?} {version}: bytes after an answer: {answer:?}");
    assert_eq!(encoded, Some(before[..].into()), "{key:?} {version}: read and written again");
}
