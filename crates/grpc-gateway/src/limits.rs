//! A limit on everything that a gRPC client could make grow; those of all listeners are in `broker::limits`.

use std::time::Duration;

/// Largest message of the service: 16 MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records and headers of one message together. An empty record is 2 bytes on the wire and about 200 decoded, so this,
/// and not the message's length, bounds what decoding may allocate (about 40 MiB).
pub(crate) const MESSAGE_ELEMENTS_MAX: usize = 65_536;
/// What a decoded record and its encoder's view of it weigh beside their bytes.
pub(crate) const DECODED_RECORD_BYTES: usize = 320;
/// What a decoded header weighs beside its bytes, amortised over a map's nodes.
pub(crate) const DECODED_HEADER_BYTES: usize = 256;
/// HTTP/2 streams of one connection at a time.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Header list of one request.
pub(crate) const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Streams a client may open and reset before it is told to go away (CVE-2023-44487).
pub(crate) const RESETS_PENDING_MAX: usize = 20;
/// Streams that this side may reset for protocol errors before the client is told to go away.
pub(crate) const LOCAL_RESETS_MAX: usize = 256;
/// Flow-control window of a connection and of a stream: what a client may send ahead of the budget.
pub(crate) const WINDOW_BYTES: u32 = 1024 * 1024;
/// How long a connection may take for its first bytes, the HTTP/2 preface.
pub(crate) const PREFACE_TIMEOUT: Duration = Duration::from_secs(15);
/// Length of the HTTP/2 preface (RFC 9113, 3.4).
pub(crate) const PREFACE_BYTES: usize = 24;
/// How long a message that has begun may stand still.
pub(crate) const MESSAGE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an idle connection is pinged, and how long the answer may take.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// See [`KEEPALIVE_INTERVAL`].
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a stream waits for memory (back-pressure) before it fails; a single call does not wait.
pub(crate) const STREAM_MEMORY_WAIT: Duration = Duration::from_secs(10);
/// Requests of one `ProduceStream` that wait for their answers; the next one is not read before one is answered.
pub(crate) const STREAM_REQUESTS_IN_FLIGHT: usize = 256;
/// How long a write may take if the client does not say.
pub(crate) const PRODUCE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Length of an organization's name.
pub(crate) const ORGANIZATION_NAME_BYTES_MAX: usize = 255;
/// What a client is told to wait before it retries after back-pressure or while a store is away.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

const _: () = assert!(MESSAGE_ELEMENTS_MAX * (DECODED_RECORD_BYTES + DECODED_HEADER_BYTES) <= 64 * 1024 * 1024);
const _: () = assert!(STREAMS_PER_CONNECTION_MAX as usize <= broker::limits::REQUESTS_IN_FLIGHT_MAX);
