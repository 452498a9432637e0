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
    let mut outbox = Outbox::new(ours, WRITE_STALL_MAX);
    let writer = replies.write(&mut outbox);
    tokio::select! {
        end = writer => unreachable!("{end:?}"),
        done = goes_on => done.expect("it went on although nothing was taken"),
    }
    drop(theirs);
}
