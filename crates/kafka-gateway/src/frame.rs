//! Reads length-prefixed frames from a stream that nothing is known about.
//!
//! - A length is believed only as far as bytes arrive: the buffer begins small and doubles.
//! - Each growth is taken from the memory budget before it is allocated. Who holds half a frame waits for more at
//!   most [`GROWTH_WAIT_MAX`], so half-read frames cannot starve each other for ever; who holds nothing waits as
//!   long as it takes: that is the back-pressure producers feel.
//! - A frame that has begun must come at [`FRAME_BYTES_PER_SECOND_MIN`], and may be [`FRAME_GRACE`] behind that at any time. So a frame
//!   of a slow but steady link has all the time it needs, and a stop or a trickle of bytes has the grace, whatever was said of its
//!   length. Waiting for memory is not counted.

use std::time::Duration;

use broker::{MemoryBudget, MemoryPermit, limits};
use bytes::{BufMut, Bytes};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::time::{Instant, timeout, timeout_at};

/// Smallest frame: API key, version, correlation id.
pub(crate) const FRAME_BYTES_MIN: usize = 8;
/// First allocation for a frame on a connection that has shown nothing yet.
const FIRST_ALLOCATION: usize = 64 * 1024;
/// What earlier frames earn a connection: that much is allocated at once if one of them was as large.
const EARNED_ALLOCATION_MAX: usize = 4 * 1024 * 1024;
/// How long a half-read frame waits for memory.
const GROWTH_WAIT_MAX: Duration = Duration::from_secs(10);
/// How far a frame may be behind the slowest rate: twice as long as clients wait for an answer (Kafka's `request.timeout.ms`).
const FRAME_GRACE: Duration = Duration::from_secs(60);
/// Slowest rate at which frames may come.
const FRAME_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
/// Small requests are read through a buffer of this size, so that each costs no call of its own.
const READ_BUFFER: usize = 4 * 1024;

/// A whole frame, without its length, and the memory it holds.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) permit: MemoryPermit,
}

/// Why there is no further frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The peer closed, in between frames.
    #[error("closed by the peer")]
    Closed,
    /// The peer closed within a frame.
    #[error("closed by the peer in the middle of a frame")]
    HalfFrame,
    /// No frame began for longer than a connection may be idle.
    #[error("idle")]
    Idle,
    /// A frame took too long.
    #[error("a frame did not complete in time")]
    Slow,
    /// The budget had no memory for a half-read frame.
    #[error("no memory for the rest of a frame")]
    Memory,
    /// The length cannot be one.
    #[error("frame length {length} is outside {FRAME_BYTES_MIN} to {max}; {looks_like}", max = limits::FRAME_BYTES_MAX)]
    Length {
        /// The length.
        length: i32,
        /// What such bytes usually are.
        looks_like: &'static str,
    },
    /// The connection failed.
    #[error("read failed")]
    Io(#[from] std::io::Error),
}

/// Reads the frames of one connection.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: BufReader<R>,
    budget: MemoryBudget,
    idle: Duration,
    largest: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, budget: MemoryBudget, idle: Duration) -> Self {
        Self { stream: BufReader::with_capacity(READ_BUFFER, stream), budget, idle, largest: 0 }
    }

    /// Waits until a frame begins. Cancel-safe.
    pub(crate) async fn begun(&mut self) -> Result<(), FrameError> {
        let buffered = timeout(self.idle, self.stream.fill_buf()).await.map_err(|_| FrameError::Idle)??;
        if buffered.is_empty() { Err(FrameError::Closed) } else { Ok(()) }
    }

    /// Reads the frame that has begun.
    pub(crate) async fn read(&mut self) -> Result<Frame, FrameError> {
        let mut length = [0; 4];
        timeout(FRAME_GRACE, self.stream.read_exact(&mut length))
            .await
            .map_err(|_| FrameError::Slow)?
            .map_err(half_frame)?;
        let bytes = frame_bytes(length)?;
        let mut allocated = bytes.min(self.largest.clamp(FIRST_ALLOCATION, EARNED_ALLOCATION_MAX));
        let mut permit = self.budget.acquire(allocated).await;
        let mut deadline = Instant::now() + FRAME_GRACE;
        let mut frame = Vec::with_capacity(allocated);
        while frame.len() < bytes {
            if frame.len() == allocated {
                let growth = allocated.min(bytes - allocated);
                let waiting = Instant::now();
                let more = timeout(GROWTH_WAIT_MAX, self.budget.acquire(growth)).await;
                permit.merge(more.map_err(|_| FrameError::Memory)?);
                deadline += waiting.elapsed();
                frame.reserve_exact(growth);
                allocated += growth;
            }
            let free = allocated - frame.len();
            let mut room = (&mut frame).limit(free);
            let read = timeout_at(deadline, self.stream.read_buf(&mut room)).await;
            match read.map_err(|_| FrameError::Slow)?? {
                0 => return Err(FrameError::HalfFrame),
                read => deadline = (deadline + time_of(read)).min(Instant::now() + FRAME_GRACE),
            }
        }
        self.largest = self.largest.max(bytes);
        Ok(Frame { bytes: Bytes::from(frame), permit })
    }
}

/// How long so many bytes may take.
fn time_of(bytes: usize) -> Duration {
    Duration::from_nanos(bytes as u64 * 1_000_000_000 / FRAME_BYTES_PER_SECOND_MIN)
}

fn half_frame(error: std::io::Error) -> FrameError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameError::HalfFrame,
        _ => FrameError::Io(error),
    }
}

fn frame_bytes(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(bytes) if (FRAME_BYTES_MIN..=limits::FRAME_BYTES_MAX).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(_) => Err(FrameError::Length { length, looks_like: looks_like(prefix) }),
    }
}

/// Names the protocols that are most often pointed at this port by mistake. As lengths, all of these are too large.
fn looks_like(prefix: [u8; 4]) -> &'static str {
    match &prefix {
        [0x16, 0x03, ..] => "this looks like TLS: set security.protocol=PLAINTEXT",
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"CONN" | b"PATC" | b"TRAC" | b"PRI " => {
            "this looks like HTTP: wrong port?"
        }
        b"SSH-" => "this looks like SSH: wrong port?",
        _ => "this is not Kafka",
    }
}
