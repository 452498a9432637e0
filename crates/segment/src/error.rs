//! Why bytes are not what they claim to be. Each variant says what the reader should do about it.

/// Bytes that are no record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Less than a header. From a client with no bytes at all: INVALID_RECORD (87); else CORRUPT_MESSAGE (2).
    #[error("a batch header needs 61 bytes, there are {available}")]
    Short {
        /// Bytes that are there.
        available: usize,
    },
    /// The length field cannot be a batch's. CORRUPT_MESSAGE (2).
    #[error("batch length {batch_length} is less than a header")]
    Length {
        /// As the header says.
        batch_length: i32,
    },
    /// The batch says that it is longer than the bytes there are. CORRUPT_MESSAGE (2).
    #[error("the batch takes {claimed} bytes, there are {available}")]
    Truncated {
        /// Bytes that the header claims, with the 12 in front of the length's count.
        claimed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// Not the format v2. INVALID_RECORD (87) for 0 and 1, which Produce 3 and later forbid; CORRUPT_MESSAGE (2) for
    /// numbers that never existed.
    #[error("magic {0}, only 2 is accepted")]
    Magic(i8),
    /// Compression ids 5 to 7 do not exist. UNSUPPORTED_COMPRESSION_TYPE (76).
    #[error("compression type {0} does not exist")]
    Compression(i16),
}

/// Bytes of our own formats that cannot be used. They come from the object store or the metadata store: treat the
/// object or row as damaged, never as absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A newer agent wrote it: upgrade this one.
    #[error("{what} has version {version}, this agent reads up to {supported}")]
    Version {
        /// Which format.
        what: &'static str,
        /// As written.
        version: u32,
        /// The newest that is read.
        supported: u32,
    },
    /// The bytes end too early, go on too long, or a number in them cannot be.
    #[error("damaged {what}: {why}")]
    Damaged {
        /// Which format.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// A checksum does not match: read it again, then treat it as bit rot.
    #[error("checksum of {what} is {actual:08x}, should be {expected:08x}")]
    Checksum {
        /// Which part.
        what: &'static str,
        /// As written.
        expected: u32,
        /// Of the bytes at hand.
        actual: u32,
    },
    /// A batch inside a range is none.
    #[error("damaged range: {0}")]
    Batch(#[from] BatchError),
}
