//! Kafka's variable-length integers inside records: zigzag, seven bits a byte, least significant first.

use bytes::BufMut;

/// Most bytes a 32-bit integer takes.
pub(crate) const VARINT_BYTES_MAX: usize = 5;
/// Most bytes a 64-bit integer takes.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

/// Writes a signed integer; `i32`s take the same bytes as the `i64` of the same value.
pub(crate) fn put_varlong(out: &mut impl BufMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.put_u8(u8::try_from(rest).unwrap_or(0));
}

/// Bytes that [`put_varlong`] writes for it.
pub(crate) fn varlong_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// An unsigned integer of at most `bytes_max` bytes at the start of `bytes`, and its length; `None` if it goes on
/// beyond the slice, an overlong one is `Some` with length 0.
pub(crate) fn get_unsigned(bytes: &[u8], bytes_max: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(bytes_max).enumerate() {
        if index == VARLONG_BYTES_MAX - 1 && *byte > 1 {
            return Some((0, 0));
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    if bytes.len() < bytes_max { None } else { Some((0, 0)) }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The signed value of a zigzag.
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_comes_back() {
        for value in
            [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN]
        {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            assert_eq!(bytes.len(), varlong_bytes(value), "{value}");
            let (raw, used) = get_unsigned(&bytes, VARLONG_BYTES_MAX).unwrap();
            assert_eq!((unzigzag(raw), used), (value, bytes.len()));
        }
    }

    #[test]
    fn an_overlong_one_is_told_from_a_short_slice() {
        assert_eq!(get_unsigned(&[0x80, 0x80], 5), None);
        assert_eq!(get_unsigned(&[0x80; 5], 5), Some((0, 0)));
        assert_eq!(get_unsigned(&[0xff; 10], 10), Some((0, 0)));
    }
}
