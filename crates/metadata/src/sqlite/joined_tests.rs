//! Commits that run as one, over a database of one table.

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot::{self, Receiver};

use super::{Commit, Direct, commit, run_all};
use crate::{
    StoreError,
    sqlite::direct::{all, execute},
};

type Answer = Receiver<Result<i64, StoreError>>;

/// A database whose table takes positive numbers.
fn database() -> (TempDir, Direct) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("numbers.db");
    let create = "PRAGMA journal_mode = WAL; CREATE TABLE numbers (number INTEGER NOT NULL CHECK (number > 0))";
    Connection::open(&path).and_then(|connection| connection.execute_batch(create)).expect("creates");
    (folder, Direct::new(path))
}

/// Inserts a number, and answers with it.
fn inserting(number: i64) -> (Box<dyn Commit>, Answer) {
    running(move |connection| {
        execute(connection, "INSERT INTO numbers VALUES (?1)", [number])?;
        Ok(number)
    })
}

fn running(body: impl FnMut(&Connection) -> Result<i64, StoreError> + Send + 'static) -> (Box<dyn Commit>, Answer) {
    let (reply, answer) = oneshot::channel();
    (commit(body, reply), answer)
}

fn numbers(connection: &Connection) -> Vec<i64> {
    all(connection, "SELECT number FROM numbers ORDER BY rowid", (), |row| row.get(0)).expect("reads")
}

fn kept(folder: &TempDir) -> Vec<i64> {
    numbers(&Connection::open(folder.path().join("numbers.db")).expect("opens"))
}

#[test]
fn what_waited_together_is_committed_together() {
    let (folder, mut direct) = database();
    let (first, mut first_answer) = inserting(1);
    let path = folder.path().join("numbers.db");
    let (second, mut second_answer) = running(move |connection| {
        assert_eq!(numbers(connection), [1], "it sees what stood before it in line");
        assert_eq!(numbers(&Connection::open(&path).expect("opens")), [0_i64; 0], "which nobody else sees yet");
        execute(connection, "INSERT INTO numbers VALUES (2)", ())?;
        Ok(2)
    });
    run_all(&mut direct, vec![first, second]);
    assert!(matches!(first_answer.try_recv(), Ok(Ok(1))));
    assert!(matches!(second_answer.try_recv(), Ok(Ok(2))));
    assert_eq!(kept(&folder), [1, 2]);
}

#[test]
fn a_fenced_one_is_refused_alone() {
    let (folder, mut direct) = database();
    let (commits, mut answers): (Vec<_>, Vec<_>) =
        [inserting(1), running(|_| Err(StoreError::Fenced)), inserting(3)].into_iter().unzip();
    run_all(&mut direct, commits);
    assert!(matches!(answers[0].try_recv(), Ok(Ok(1))));
    assert!(matches!(answers[1].try_recv(), Ok(Err(StoreError::Fenced))));
    assert!(matches!(answers[2].try_recv(), Ok(Ok(3))));
    assert_eq!(kept(&folder), [1, 3]);
}

#[test]
fn what_cannot_be_written_keeps_nobody_else_from_it() {
    let (folder, mut direct) = database();
    let (commits, mut answers): (Vec<_>, Vec<_>) = [inserting(1), inserting(-2), inserting(3)].into_iter().unzip();
    run_all(&mut direct, commits);
    assert!(matches!(answers[0].try_recv(), Ok(Ok(1))));
    assert!(matches!(answers[1].try_recv(), Ok(Err(StoreError::NotCommitted(_)))));
    assert!(matches!(answers[2].try_recv(), Ok(Ok(3))));
    assert_eq!(kept(&folder), [1, 3], "each once");
}
