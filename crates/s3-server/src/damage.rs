//! Answers that are not what the object holds, as broken links and broken disks make them.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use s3s::dto::StreamingBlob;
use s3s::{Body, HttpResponse};

use crate::faults::Damage;

/// So long after its first half a body breaks off, so that the half has been sent.
const BREAKS_AFTER: Duration = Duration::from_millis(20);

/// The answer, with a body of less than it promises, of half as much, or with a wrong bit. Errors stay as they are.
pub(crate) async fn damaged(answer: HttpResponse, damage: Damage) -> io::Result<HttpResponse> {
    if !answer.status().is_success() {
        return Ok(answer);
    }
    let (mut head, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(io::Error::other)?);
    }
    let half = bytes.len() / 2;
    let body = match damage {
        Damage::Wrong(place) => {
            turn_bit(&mut bytes, place);
            Body::from(bytes)
        }
        Damage::Short => {
            bytes.truncate(half);
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(half));
            Body::from(bytes)
        }
        Damage::Reset => {
            bytes.truncate(half);
            let breaks = stream::once(async {
                tokio::time::sleep(BREAKS_AFTER).await;
                Err(io::Error::other("the connection breaks"))
            });
            Body::from(StreamingBlob::wrap(stream::iter([Ok(Bytes::from(bytes))]).chain(breaks)))
        }
    };
    Ok(HttpResponse::from_parts(head, body))
}

/// Turns one bit over, at a share of the bytes; none if there are no bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a body, roughly"
)]
fn turn_bit(bytes: &mut [u8], place: f64) {
    let bit = (bytes.len() as f64 * 8.0 * place) as usize;
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    async fn read(damage: Damage) -> (usize, Result<Vec<u8>, ()>) {
        let mut answer = HttpResponse::new(Body::from(vec![0; 100]));
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(100));
        let (head, mut body) = damaged(answer, damage).await.expect("served").into_parts();
        let promised = head.headers[CONTENT_LENGTH].to_str().expect("text").parse().expect("a number");
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(_) => return (promised, Err(())),
            }
        }
        (promised, Ok(bytes))
    }

    #[tokio::test]
    async fn a_body_breaks_off_is_short_or_has_one_wrong_bit() {
        assert_eq!(read(Damage::Reset).await, (100, Err(())));
        assert_eq!(read(Damage::Short).await, (50, Ok(vec![0; 50])));
        let (promised, bytes) = read(Damage::Wrong(0.999)).await;
        let wrong: u32 = bytes.expect("whole").iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((promised, wrong), (100, 1));
    }

    #[tokio::test]
    async fn an_error_is_told_as_it_is() {
        let mut answer = HttpResponse::new(Body::from("no".to_owned()));
        *answer.status_mut() = StatusCode::NOT_FOUND;
        let mut body = damaged(answer, Damage::Wrong(0.0)).await.expect("served").into_body();
        assert_eq!(body.next().await.expect("a chunk").expect("whole"), "no");
    }
}
