//! CRC32C (Castagnoli), the checksum of Kafka's batches and of everything this crate adds around them.

use crc_fast::{CrcAlgorithm, Digest};

/// A CRC32C over bytes that arrive in pieces.
pub(crate) struct Crc32c(Digest);

impl Crc32c {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub(crate) fn value(&self) -> u32 {
        // The low half is the whole checksum: the algorithm is 32 bits wide.
        (self.0.finalize() & u64::from(u32::MAX)).try_into().unwrap_or(u32::MAX)
    }
}

/// The checksum of one slice.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(bytes);
    crc.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        let mut pieces = Crc32c::new();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), 0xE306_9283);
    }
}
