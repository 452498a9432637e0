//! Walks a request before anything decodes it.
//!
//! Every length and count is checked against the bytes that are left, nothing is allocated, and a body that does not
//! end exactly where its schema says is refused. What passes can be decoded with memory in proportion to the frame:
//! [`Walked::decoded_bytes`] says how much, so that the caller can take it from the budget.
//! A refused request closes its connection, as Apache Kafka does with what it cannot parse.

use crate::api::Api;
use crate::schema::{Field, Kind};

/// Elements of all arrays in one request.
pub(crate) const ELEMENTS_MAX: usize = 220_000;
/// Tagged fields in one request, known and unknown.
pub(crate) const TAGGED_FIELDS_MAX: usize = 1_000;
/// Upper bound of what one element of an array costs: decoded, on its way through the broker, and answered.
const ELEMENT_BYTES: usize = 512;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A length, count or field passes the end of the frame.
    #[error("a field passes the end of the frame")]
    Short,
    /// A varint has more than five bytes or 32 bits.
    #[error("overlong varint")]
    Varint,
    /// A length below -1, or a string longer than Kafka's longest.
    #[error("invalid length")]
    Length,
    /// Null where the protocol has no null.
    #[error("null where the protocol has no null")]
    Null,
    /// Tagged fields out of order, repeated, or of the wrong size.
    #[error("invalid tagged field")]
    Tag,
    /// More elements or tagged fields than one request may have.
    #[error("too many elements")]
    TooMany,
    /// Not UTF-8, or otherwise not decodable.
    #[error("not decodable")]
    Undecodable,
}

/// A request that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Where the body begins in the frame.
    pub(crate) body_at: usize,
    /// Upper bound of the memory that decoding and answering allocate beside the frame and what is read.
    pub(crate) decoded_bytes: usize,
}

struct Walk<'a> {
    left: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
    tagged_fields: usize,
}

/// Walks the header (from the API key on) and body of one frame.
///
/// # Errors
/// As [`Malformed`] says.
pub(crate) fn walk(api: &Api, version: i16, frame: &[u8]) -> Result<Walked, Malformed> {
    let flexible = version >= api.flexible_since;
    let mut walk = Walk { left: frame, version, flexible, elements: 0, tagged_fields: 0 };
    walk.skip(8)?; // API key, version, correlation id
    walk.client_id()?;
    if flexible {
        walk.tagged_fields(&[])?;
    }
    let body_at = frame.len() - walk.left.len();
    walk.fields(api.body)?;
    // Bytes after the body are ignored, as Kafka does: librdkafka 2.16 sends three too many in "all topics" of Metadata 13.
    Ok(Walked { body_at, decoded_bytes: (walk.elements + walk.tagged_fields) * ELEMENT_BYTES })
}

impl Walk<'_> {
    fn skip(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.left = self.left.get(bytes..).ok_or(Malformed::Short)?;
        Ok(())
    }

    fn int<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, left) = self.left.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.left = left;
        Ok(*value)
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.int::<1>()?;
            if shift == 28 && byte > 0x0f {
                return Err(Malformed::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    /// The header's client id is a plain nullable string in every version.
    fn client_id(&mut self) -> Result<(), Malformed> {
        match i16::from_be_bytes(self.int()?) {
            -1 => Ok(()),
            length => self.skip(usize::try_from(length).map_err(|_| Malformed::Length)?),
        }
    }

    /// A length or count as this version encodes it; `None` = null. `narrow`: two bytes where not compact.
    fn length(&mut self, narrow: bool) -> Result<Option<usize>, Malformed> {
        if self.flexible {
            let length = self.varint()?;
            return Ok(length.checked_sub(1).map(|length| length as usize));
        }
        let length = if narrow { i32::from(i16::from_be_bytes(self.int()?)) } else { i32::from_be_bytes(self.int()?) };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| Malformed::Length),
        }
    }

    fn text(&mut self) -> Result<bool, Malformed> {
        let Some(length) = self.length(true)? else { return Ok(false) };
        if length > i16::MAX as usize {
            return Err(Malformed::Length);
        }
        self.skip(length)?;
        Ok(true)
    }

    /// The number of elements of an array whose elements have at least `smallest` bytes; `None` = null.
    fn count(&mut self, smallest: usize) -> Result<Option<usize>, Malformed> {
        let Some(count) = self.length(false)? else { return Ok(None) };
        if count > self.left.len() / smallest {
            return Err(Malformed::Short);
        }
        self.elements += count;
        if self.elements > ELEMENTS_MAX {
            return Err(Malformed::TooMany);
        }
        Ok(Some(count))
    }

    fn fields(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.exists_in(version)) {
            self.field(field)?;
        }
        if self.flexible {
            self.tagged_fields(fields)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &Field) -> Result<(), Malformed> {
        let present = match field.kind {
            Kind::Fixed(bytes) => self.skip(bytes).map(|()| true)?,
            Kind::Text => self.text()?,
            Kind::Blob => match self.length(false)? {
                Some(length) => self.skip(length).map(|()| true)?,
                None => false,
            },
            Kind::Structs(fields) => match self.count(1)? {
                Some(count) => (0..count).try_for_each(|_| self.fields(fields)).map(|()| true)?,
                None => false,
            },
            Kind::Texts => match self.count(if self.flexible { 1 } else { 2 })? {
                Some(count) => (0..count)
                    .try_for_each(|_| if self.text()? { Ok(()) } else { Err(Malformed::Null) })
                    .map(|()| true)?,
                None => false,
            },
            Kind::FixedArray(bytes) => match self.count(bytes)? {
                Some(count) => self.skip(count * bytes).map(|()| true)?,
                None => false,
            },
            Kind::Struct(fields) => self.fields(fields).map(|()| true)?,
            Kind::OptionStruct(fields) => match i8::from_be_bytes(self.int()?) {
                -1 => return Ok(()),
                1 => self.fields(fields).map(|()| true)?,
                _ => return Err(Malformed::Length),
            },
        };
        if present || self.version >= field.nullable_since { Ok(()) } else { Err(Malformed::Null) }
    }

    /// Tags rise, so none is there twice; a known one fills exactly the size it claims.
    fn tagged_fields(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        let count = self.varint()? as usize;
        self.tagged_fields = self.tagged_fields.saturating_add(count);
        if self.tagged_fields > TAGGED_FIELDS_MAX {
            return Err(Malformed::TooMany);
        }
        let mut smallest_tag = 0;
        for _ in 0..count {
            let tag = self.varint()?;
            if tag < smallest_tag || tag > i32::MAX.cast_unsigned() {
                return Err(Malformed::Tag);
            }
            smallest_tag = tag + 1;
            let size = self.varint()? as usize;
            let after = self.left.get(size..).ok_or(Malformed::Short)?;
            match fields.iter().find(|field| field.tag == Some(tag)) {
                Some(field) if field.exists_in(self.version) => {
                    self.left = &self.left[..size];
                    self.field(field)?;
                    if !self.left.is_empty() {
                        return Err(Malformed::Tag);
                    }
                }
                Some(_) => return Err(Malformed::Tag),
                None => {}
            }
            self.left = after;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
