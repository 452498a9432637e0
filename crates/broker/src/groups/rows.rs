//! Rows of groups: their kinds, and how values are written (docs/groups.md has the tables).
//!
//! A value begins with the version of its layout; numbers are big endian; a string or a byte array is preceded by its
//! length, -1 for none. What is read is checked: a value that was not written by [`RowWriter`] is an error, never a panic.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::api::Protocol;

/// The row of a classic group; its item is empty.
pub(crate) const KIND_CLASSIC_GROUP: i16 = 0;
/// A committed offset; its item is the topic's id and the partition.
pub(crate) const KIND_OFFSET: i16 = 1;

/// A value that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RowError {
    /// Written by a later release.
    #[error("version {0} of a row is not known here")]
    Version(u8),
    /// It ends too early, or does not end where it should.
    #[error("the length of a row is wrong")]
    Length,
    /// A string that is not UTF-8.
    #[error("a string of a row is not UTF-8")]
    String,
    /// Fields that contradict each other.
    #[error("the fields of a row contradict each other")]
    Contradiction,
}

/// Writes a value.
#[derive(Debug)]
pub(crate) struct RowWriter(BytesMut);

impl RowWriter {
    pub(crate) fn new(version: u8) -> Self {
        let mut value = BytesMut::with_capacity(256);
        value.put_u8(version);
        Self(value)
    }

    pub(crate) fn i32(&mut self, number: i32) {
        self.0.put_i32(number);
    }

    pub(crate) fn i64(&mut self, number: i64) {
        self.0.put_i64(number);
    }

    /// In milliseconds, as far as an `i32` goes.
    pub(crate) fn duration(&mut self, duration: Duration) {
        self.0.put_i32(i32::try_from(duration.as_millis()).unwrap_or(i32::MAX));
    }

    /// The number of what follows.
    pub(crate) fn count(&mut self, count: usize) {
        self.0.put_i32(length(count));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.put_slice(bytes);
    }

    pub(crate) fn string(&mut self, string: &str) {
        self.bytes(string.as_bytes());
    }

    pub(crate) fn optional_string(&mut self, string: Option<&str>) {
        match string {
            Some(string) => self.string(string),
            None => self.0.put_i32(-1),
        }
    }

    /// With their metadata, in their order.
    pub(crate) fn protocols(&mut self, protocols: &[Protocol]) {
        self.count(protocols.len());
        for protocol in protocols {
            self.string(&protocol.name);
            self.bytes(&protocol.metadata);
        }
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// All that is written is far below `i32::MAX` (the bounds of groups).
fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Reads a value.
#[derive(Debug)]
pub(crate) struct RowReader<'a>(&'a [u8]);

impl<'a> RowReader<'a> {
    /// A value of a version up to `newest`, and its version.
    pub(crate) fn new(value: &'a [u8], newest: u8) -> Result<(Self, u8), RowError> {
        let (version, rest) = value.split_first().ok_or(RowError::Length)?;
        if *version > newest { Err(RowError::Version(*version)) } else { Ok((Self(rest), *version)) }
    }

    /// What has no version of its own, as an item of a key.
    pub(crate) fn unversioned(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], RowError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(RowError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(RowError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RowError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RowError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn duration(&mut self) -> Result<Duration, RowError> {
        let milliseconds = u64::try_from(self.i32()?).map_err(|_| RowError::Contradiction)?;
        Ok(Duration::from_millis(milliseconds))
    }

    /// The number of things that follow; none is shorter than a byte, so there cannot be more than bytes are left.
    pub(crate) fn count(&mut self) -> Result<usize, RowError> {
        let count = usize::try_from(self.i32()?).map_err(|_| RowError::Length)?;
        if count > self.0.len() { Err(RowError::Length) } else { Ok(count) }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, RowError> {
        let count = self.count()?;
        Ok(Bytes::copy_from_slice(self.take(count)?))
    }

    pub(crate) fn string(&mut self) -> Result<String, RowError> {
        let count = self.count()?;
        as_string(self.take(count)?)
    }

    pub(crate) fn optional_string(&mut self) -> Result<Option<String>, RowError> {
        match self.i32()? {
            -1 => Ok(None),
            count => {
                let count = usize::try_from(count).map_err(|_| RowError::Length)?;
                Ok(Some(as_string(self.take(count)?)?))
            }
        }
    }

    pub(crate) fn protocols(&mut self) -> Result<Vec<Protocol>, RowError> {
        (0..self.count()?).map(|_| Ok(Protocol { name: self.string()?, metadata: self.bytes()? })).collect()
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), RowError> {
        if self.0.is_empty() { Ok(()) } else { Err(RowError::Length) }
    }
}

fn as_string(bytes: &[u8]) -> Result<String, RowError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| RowError::String)
}
