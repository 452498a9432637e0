//! Tests of the writer of a connection.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;

fn in_flight(reply: impl Future<Output = Reply> + Send + 'static) -> InFlight {
    InFlight { reply: Box::pin(reply), has_effects: false }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_answers_holds_up_no_request_behind_them() {
    let (ours, theirs) = tokio::io::duplex(16);
    let (queue, requests) = mpsc::channel(2);
    let (gone_on, goes_on) = oneshot::channel();
    let first = async { Reply::Send(vec![Bytes::from_static(&[7; 100])]) };
    let second = async {
        tokio::task::yield_now().await;
        gone_on.send(()).expect("the test waits");
        Reply::Nothing
    };
    for request in [in_flight(first), in_flight(second)] {
        assert!(queue.try_send(request).is_ok(), "there is room");
    }
    let mut replies = Replies { in_flight: requests, current: None };
    let mut outbox = Outbox::new(ours, WRITE_STALL_MAX, || false);
    let writer = replies.write(&mut outbox);
    tokio::select! {
        end = writer => unreachable!("{end:?}"),
        done = goes_on => done.expect("it went on although nothing was taken"),
    }
    drop(theirs);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up_sooner_while_others_wait_for_its_memory() {
    for (is_short, after) in [(false, WRITE_STALL_MAX), (true, Duration::from_secs(5))] {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut outbox = Outbox::new(ours, WRITE_STALL_MAX, move || is_short);
        outbox.push(vec![Bytes::from_static(&[7; 100])]);
        let began = tokio::time::Instant::now();
        assert!(outbox.flush().await.is_err());
        assert_eq!(began.elapsed(), after);
    }
}

/// Takes so many bytes a second of an answer of 1 MiB, for ten minutes at most; whether all of it was written, or `None` if it still is.
async fn taken_at(bytes_per_second: usize, is_short: bool) -> Option<bool> {
    let (ours, mut theirs) = tokio::io::duplex(16);
    let taking = tokio::spawn(async move {
        let mut taken = vec![0; bytes_per_second];
        while tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut taken).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut outbox = Outbox::new(ours, WRITE_STALL_MAX, move || is_short);
    outbox.push(vec![Bytes::from_static(&[7; 1 << 20])]);
    let written = tokio::time::timeout(Duration::from_secs(600), outbox.flush()).await;
    taking.abort();
    written.ok().map(|written| written.is_ok())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_byte_now_and_then_is_one_that_takes_nothing_while_others_wait_for_its_memory() {
    assert_eq!(taken_at(1, true).await, Some(false), "a byte a second");
    assert_eq!(taken_at(8 << 10, true).await, Some(false), "8 KiB/s");
    assert_eq!(taken_at(32 << 10, true).await, Some(true), "a slow link");
    assert_eq!(taken_at(1, false).await, None, "nobody waits");
}

#[tokio::test]
async fn a_piece_is_let_go_when_it_is_written_and_not_when_all_are() {
    let piece = std::sync::Arc::new([7_u8; 64 * 1024]);
    struct Lent(std::sync::Arc<[u8; 64 * 1024]>);
    impl AsRef<[u8]> for Lent {
        fn as_ref(&self) -> &[u8] {
            self.0.as_slice()
        }
    }
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let mut outbox = Outbox::new(ours, WRITE_STALL_MAX, || false);
    outbox.push((0..3).map(|_| Bytes::from_owner(Lent(piece.clone()))).collect());
    let flush = outbox.flush();
    let take = async {
        let mut taken = vec![0; 2 * piece.len() + 10];
        tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut taken).await.expect("two pieces and some");
        assert_eq!(std::sync::Arc::strong_count(&piece), 2, "the test's, and the last one");
    };
    tokio::select! { done = flush => unreachable!("{done:?}"), () = take => {} }
}
