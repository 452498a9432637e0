//! What becomes of a request, and how it gets onto the wire.
//!
//! One writer per connection takes replies strictly in request order. Small pieces are copied together, so that a
//! burst of small answers is one system call; large ones (record batches of a fetch) are written where they are.

use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// Pieces below this are copied together, others are written as they are.
const COPIED_BELOW: usize = 16 * 1024;
/// Slices per system call.
const SLICES_MAX: usize = 64;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Written in these pieces; the first begins with the frame's length.
    Send(Vec<Bytes>),
    /// Nothing (acks=0).
    Nothing,
    /// The connection is closed without an answer.
    Close(&'static str),
}

/// A response that could not be encoded: a bug.
#[derive(Debug, thiserror::Error)]
#[error("response to {key:?} version {version} does not encode: {reason}")]
pub(crate) struct EncodeError {
    key: ApiKey,
    version: i16,
    reason: String,
}

/// Encodes a response with its header and length.
pub(crate) fn encode<T: Encodable + HeaderVersion>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Bytes, EncodeError> {
    let failed = |reason: String| EncodeError { key, version, reason };
    let header_bytes = header_bytes(T::header_version(version));
    let body_bytes = response.compute_size(version).map_err(|error| failed(error.to_string()))?;
    let length = i32::try_from(header_bytes + body_bytes).map_err(|error| failed(error.to_string()))?;
    let mut buffer = BytesMut::with_capacity(4 + header_bytes + body_bytes);
    put_header(&mut buffer, length, correlation_id, header_bytes);
    response.encode(&mut buffer, version).map_err(|error| failed(error.to_string()))?;
    Ok(buffer.freeze())
}

/// Response header 0 is the correlation id; 1 adds (here always empty) tagged fields.
pub(crate) const fn header_bytes(header_version: i16) -> usize {
    if header_version == 0 { 4 } else { 5 }
}

/// Writes a frame's length and a response header.
pub(crate) fn put_header(buffer: &mut BytesMut, length: i32, correlation_id: i32, header_bytes: usize) {
    buffer.put_i32(length);
    buffer.put_i32(correlation_id);
    if header_bytes > 4 {
        buffer.put_u8(0);
    }
}

/// Collects pieces and writes them.
pub(crate) struct Outbox<W> {
    stream: W,
    small: BytesMut,
    pieces: Vec<Bytes>,
    bytes: usize,
    stall_max: Duration,
    /// Whether others wait for the memory of answers.
    is_short: Box<dyn Fn() -> bool + Send>,
}

/// What a peer takes of its answers is looked at in windows of this length.
const WINDOW: Duration = Duration::from_secs(5);
/// What it must take in each while others wait for memory: 16 KiB/s. A byte now and then holds an answer as nothing does.
const TAKEN_MIN_IF_SHORT: usize = 80 * 1024;

/// How a peer takes its answers.
struct Taking {
    window_ends: Instant,
    /// In this window.
    taken: usize,
    /// When it took something last.
    last: Instant,
}

impl Taking {
    fn begins() -> Self {
        let now = Instant::now();
        Self { window_ends: now + WINDOW, taken: 0, last: now }
    }

    fn takes(&mut self, bytes: usize) {
        if bytes > 0 {
            self.taken += bytes;
            self.last = Instant::now();
        }
    }

    /// At the end of a window: whether the peer took too little for too long.
    fn is_given_up(&mut self, stall_max: Duration, is_short: impl Fn() -> bool) -> bool {
        let now = Instant::now();
        if now < self.window_ends {
            return false;
        }
        let few = std::mem::take(&mut self.taken) < TAKEN_MIN_IF_SHORT;
        self.window_ends = now + WINDOW;
        now - self.last >= stall_max || few && is_short()
    }
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    pub(crate) fn new(stream: W, stall_max: Duration, is_short: impl Fn() -> bool + Send + 'static) -> Self {
        let is_short = Box::new(is_short);
        Self { stream, small: BytesMut::new(), pieces: Vec::new(), bytes: 0, stall_max, is_short }
    }

    /// Bytes that wait for [`Self::flush`].
    pub(crate) fn waiting(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, pieces: Vec<Bytes>) {
        for piece in pieces {
            self.bytes += piece.len();
            if piece.len() < COPIED_BELOW {
                self.small.extend_from_slice(&piece);
            } else {
                self.end_small();
                self.pieces.push(piece);
            }
        }
    }

    /// Writes everything; an error also when the peer takes nothing for `stall_max`, or little for less while memory is short.
    pub(crate) async fn flush(&mut self) -> std::io::Result<()> {
        self.end_small();
        let (mut first, mut taking) = (0, Taking::begins());
        while first < self.pieces.len() {
            let last = self.pieces.len().min(first + SLICES_MAX);
            let slices: Vec<IoSlice<'_>> = self.pieces[first..last].iter().map(|piece| IoSlice::new(piece)).collect();
            let written = timeout_at(taking.window_ends, self.stream.write_vectored(&slices)).await;
            if matches!(written, Ok(Ok(0))) {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            let mut written = written.unwrap_or(Ok(0))?;
            taking.takes(written);
            while written > 0 {
                let piece = &mut self.pieces[first];
                let taken = written.min(piece.len());
                piece.advance(taken);
                written -= taken;
                if piece.is_empty() {
                    // Whoever lent the memory has it back now, not when the last piece is written.
                    *piece = Bytes::new();
                    first += 1;
                }
            }
            if first < self.pieces.len() && taking.is_given_up(self.stall_max, &self.is_short) {
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the peer takes no answers"));
            }
        }
        self.pieces.clear();
        self.bytes = 0;
        self.stream.flush().await
    }

    /// Says goodbye; errors do not matter any more.
    pub(crate) async fn close(&mut self) {
        drop(timeout(self.stall_max, self.stream.shutdown()).await);
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }
}
