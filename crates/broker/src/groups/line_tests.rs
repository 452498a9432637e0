//! Answers keep behind the changes they rest on.

use bytes::Bytes;
use metadata::CoordinatorKey;

use super::*;

fn change(number: usize) -> CoordinatorChange {
    let item = Bytes::copy_from_slice(&number.to_be_bytes());
    CoordinatorChange { key: CoordinatorKey { owner: "g".to_owned(), kind: 1, item }, value: None }
}

fn answered(line: &mut Line) -> oneshot::Receiver<Result<Reply, GroupError>> {
    let (to, answer) = oneshot::channel();
    line.answer(to, Reply::Heartbeat(Ok(())));
    answer
}

#[test]
fn an_answer_leaves_when_everything_before_it_is_durable() {
    let mut line = Line::default();
    assert!(answered(&mut line).try_recv().is_ok(), "nothing was changed");
    line.change(vec![change(0)]);
    let mut first = answered(&mut line);
    assert_eq!(line.take_changes().map(|changes| changes.len()), Some(1));
    line.change(vec![change(1), change(2)]);
    let mut second = answered(&mut line);
    line.written();
    assert!(first.try_recv().is_ok());
    assert!(second.try_recv().is_err(), "its changes were made after the write was sent");
    assert_eq!(line.take_changes().map(|changes| changes.len()), Some(2));
    line.written();
    assert!(second.try_recv().is_ok());
    assert!(line.take_changes().is_none());
}

#[test]
fn a_write_takes_whole_decisions_and_no_more_than_a_call() {
    let mut line = Line::default();
    let many = |count: usize| (0..count).map(change).collect::<Vec<_>>();
    line.change(many(COORDINATOR_CHANGES_MAX - 1));
    line.change(many(2));
    line.change(many(COORDINATOR_CHANGES_MAX + 1));
    let mut last = answered(&mut line);
    assert!(line.is_full());
    let mut sizes = Vec::new();
    while let Some(changes) = line.take_changes() {
        assert!(last.try_recv().is_err());
        sizes.push(changes.len());
        line.written();
    }
    assert_eq!(sizes, [COORDINATOR_CHANGES_MAX - 1, 2, COORDINATOR_CHANGES_MAX, 1]);
    assert!(last.try_recv().is_ok());
    assert!(!line.is_full());
}

#[test]
fn a_write_takes_few_large_decisions_and_a_line_not_many() {
    let mut line = Line::default();
    let large =
        |number: usize| CoordinatorChange { value: Some(vec![0; WRITE_BYTES_MAX / 2 - 9].into()), ..change(number) };
    let decisions = BYTES_MAX / (WRITE_BYTES_MAX / 2);
    for number in 0..decisions {
        assert!(!line.is_full());
        line.change(vec![large(number)]);
    }
    assert!(line.is_full());
    let mut sizes = Vec::new();
    while let Some(changes) = line.take_changes() {
        sizes.push(changes.len());
        line.written();
    }
    assert_eq!(sizes, vec![2; decisions / 2]);
    assert!(!line.is_full());
}
