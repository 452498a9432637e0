//! Bytes are paid for before they are buffered, and silence is given up.

use std::{collections::VecDeque, future::poll_fn};

use tokio::time::Instant;
use tonic::Code;

use super::*;

/// Frames that are there at once; then the end, or silence.
struct Frames(VecDeque<Bytes>, bool);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Status;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.1 => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn body(frames: &[&[u8]], silent: bool, budget: &MemoryBudget, waits: bool) -> AdmittedBody {
    let frames = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
    AdmittedBody {
        inner: Body::new(Frames(frames, silent)),
        budget: budget.clone(),
        received: RequestBytes::default(),
        waits,
        waiting: None,
        framing: Framing::default(),
        stalled: None,
        failed: false,
    }
}

async fn next(body: &mut AdmittedBody) -> Option<Result<Bytes, Status>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

#[tokio::test]
async fn received_bytes_are_paid_for_until_the_handler_lets_go() {
    let budget = MemoryBudget::new(10);
    let mut body = body(&[&[0, 0, 0, 0, 3], &[1, 2, 3]], false, &budget, false);
    while let Some(frame) = next(&mut body).await {
        frame.unwrap();
    }
    assert!(budget.try_acquire(3).is_none());
    drop(body.received.take());
    assert!(budget.try_acquire(10).is_some());
}

#[tokio::test]
async fn a_call_over_the_budget_fails_at_once() {
    let budget = MemoryBudget::new(10);
    let held = budget.try_acquire(8);
    let mut body = body(&[&[0, 0, 0, 0, 3, 1, 2, 3]], false, &budget, false);
    assert_eq!(next(&mut body).await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    assert!(next(&mut body).await.is_none());
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_memory_a_bounded_time() {
    let budget = MemoryBudget::new(10);
    let held = budget.try_acquire(8);
    let mut waiting = body(&[&[0, 0, 0, 0, 1, 1], &[0, 0, 0, 0, 0]], false, &budget, true);
    let freed = async {
        tokio::time::sleep(limits::STREAM_MEMORY_WAIT / 2).await;
        drop(held);
    };
    let (frame, ()) = tokio::join!(next(&mut waiting), freed);
    assert_eq!(frame.unwrap().unwrap().len(), 6);

    let held = budget.try_acquire(4);
    let mut refused = body(&[&[0, 0, 0, 0, 1, 1]], false, &budget, true);
    let started = Instant::now();
    assert_eq!(next(&mut refused).await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    assert!(started.elapsed() >= limits::STREAM_MEMORY_WAIT);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn half_a_message_then_silence_is_given_up() {
    let budget = MemoryBudget::new(100);
    let mut stalled = body(&[&[0, 0, 0, 0, 9, 1, 2]], true, &budget, true);
    next(&mut stalled).await.unwrap().unwrap();
    assert_eq!(next(&mut stalled).await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn silence_between_messages_is_legal() {
    let budget = MemoryBudget::new(100);
    let mut quiet = body(&[&[0, 0, 0, 0, 2, 1, 2]], true, &budget, true);
    next(&mut quiet).await.unwrap().unwrap();
    assert!(timeout(limits::MESSAGE_STALL_TIMEOUT * 10, next(&mut quiet)).await.is_err());
}

#[tokio::test]
async fn a_claimed_length_over_the_limit_is_refused_before_its_bytes_come() {
    let budget = MemoryBudget::new(100);
    // split inside the prefix
    let mut large = body(&[&[0, 0x01, 0x00], &[0x00, 0x01]], true, &budget, false);
    next(&mut large).await.unwrap().unwrap();
    let status = next(&mut large).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("16777217"), "{}", status.message());
}
