//! The codec of the service: counts a message's elements before it decodes them.
//!
//! Protobuf lets 2 bytes stand for a record that takes a few hundred in memory, so a message within the length limit could
//! make the decoder allocate gigabytes. One pass over the field tags, which allocates nothing, refuses such a message.

use std::marker::PhantomData;

use bytes::Buf;
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

use crate::{limits, status::Refusal};

/// Encodes as tonic's prost codec does, decodes after a count.
#[derive(Debug)]
pub(crate) struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// See [`BoundedCodec`].
#[derive(Debug)]
pub(crate) struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic hands out one message as one contiguous chunk.
        let elements = count_elements(buffer.chunk()).map_err(malformed)?;
        if elements > limits::MESSAGE_ELEMENTS_MAX {
            return Err(Refusal::InvalidArgument(format!(
                "the message holds {elements} records and headers, more than {}: split it",
                limits::MESSAGE_ELEMENTS_MAX
            ))
            .into());
        }
        U::decode(buffer).map(Some).map_err(malformed)
    }
}

fn malformed(error: impl std::error::Error) -> Status {
    Refusal::InvalidArgument(format!("the message is not valid protobuf for this method: {error}")).into()
}

/// The message is cut short, or is no protobuf.
#[derive(Debug, thiserror::Error)]
#[error("a field reaches past the end of the message, or has no valid tag")]
struct Malformed;

/// Length-delimited fields of the message, plus the headers in its submessages of field 3, which are a request's records.
/// In other messages field 3 is short or absent, and counting it does no harm.
fn count_elements(mut message: &[u8]) -> Result<usize, Malformed> {
    const RECORDS: u32 = 3;
    let mut elements = 0;
    while !message.is_empty() {
        if let Some((tag, content)) = next_field(&mut message)? {
            elements += 1;
            if tag == RECORDS {
                elements += count_headers(content);
            }
        }
    }
    Ok(elements)
}

/// Length-delimited fields of a record other than key (1) and value (2), up to the first that is malformed (the decoder
/// will report that one).
fn count_headers(mut record: &[u8]) -> usize {
    let mut fields = 0;
    while !record.is_empty() {
        match next_field(&mut record) {
            Ok(field) => fields += usize::from(field.is_some_and(|(tag, _)| tag > 2)),
            Err(_) => break,
        }
    }
    fields
}

/// Takes one field off; `Some` with its tag and content if it is length-delimited.
fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, Malformed> {
    let (tag, wire_type) = decode_key(message).map_err(|_| Malformed)?;
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(message).map_err(|_| Malformed)?;
            return Ok(None);
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        // Groups have no length; what is in them is walked as fields of this message.
        WireType::StartGroup | WireType::EndGroup => return Ok(None),
        WireType::LengthDelimited => decode_varint(message).map_err(|_| Malformed)?,
    };
    let content = usize::try_from(length).ok().and_then(|length| message.split_at_checked(length));
    let Some((content, rest)) = content else {
        return Err(Malformed);
    };
    *message = rest;
    Ok((wire_type == WireType::LengthDelimited).then_some((tag, content)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Header, ProduceRequest, Record};

    #[test]
    fn records_and_headers_are_counted() {
        let record = Record {
            key: Some("k".into()),
            value: "v".into(),
            headers: [("a".to_owned(), "1".into()), ("b".to_owned(), "2".into())].into(),
            ordered_headers: vec![Header::default(), Header::default()],
            ..Record::default()
        };
        let request = ProduceRequest { topic: "t".into(), records: vec![record; 10], ..ProduceRequest::default() };
        // the topic, ten records, four headers each
        assert_eq!(count_elements(&request.encode_to_vec()).unwrap(), 1 + 10 + 40);
    }

    #[test]
    fn a_bomb_of_empty_records_is_counted_without_decoding() {
        let bomb = [0x1a, 0x00].repeat(1_000_000);
        assert_eq!(count_elements(&bomb).unwrap(), 1_000_000);
        // and one of empty headers inside one record
        let headers = [0x32, 0x00].repeat(100_000);
        let mut message = vec![0x1a];
        prost::encoding::encode_varint(headers.len() as u64, &mut message);
        message.extend_from_slice(&headers);
        assert_eq!(count_elements(&message).unwrap(), 100_001);
    }

    #[test]
    fn fields_that_lie_about_their_length_are_errors() {
        for message in
            [&[0x1a, 0x05, 0x00][..], &[0x1a], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0]]
        {
            assert!(count_elements(message).is_err(), "{message:?}");
        }
    }
}
