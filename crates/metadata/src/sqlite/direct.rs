//! The connection that is called directly, on the writer's thread: a statement costs itself, not a hop between threads.
//!
//! Segment commits and writes of coordinators use it, and whatever touches many rows: it holds commits up for less time. An error before COMMIT means that
//! nothing happened; what one of COMMIT itself means, [`commit_error`] says.

use std::path::PathBuf;

use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension, Params, Row, params};
use segment::SessionId;

use super::{LOCKED_OUT_OR_FULL, SQLITE_CORRUPT, SQLITE_NOTADB, open::BUSY_TIMEOUT};
use crate::StoreError;

/// Page cache, in SQLite's notation for KiB: a commit of 1,000 ranges dirties 5 MB and must not spill.
const PAGE_CACHE: &str = "-8192";
/// Prepared statements kept; there are fewer.
const STATEMENTS_KEPT: usize = 48;

/// See the module.
#[derive(Debug)]
pub(super) struct Direct {
    path: PathBuf,
    /// `None` after an error that left its state in doubt; opened anew by the next transaction.
    connection: Option<Connection>,
}

impl Direct {
    /// Connects when first used.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, connection: None }
    }

    /// Runs `body` between BEGIN and COMMIT. Blocks until it is synced.
    pub(super) fn transaction<T>(
        &mut self,
        body: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open(&self.path).map_err(not_committed)?,
        };
        let outcome = between_begin_and_commit(&connection, body);
        let is_sound = match &outcome {
            Ok(_) => true,
            // An open transaction holds the write lock. One that SQLite ended by itself needs no rollback.
            Err(StoreError::Fenced | StoreError::NotCommitted(_)) => {
                connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok()
            }
            Err(StoreError::Unknown(_) | StoreError::Damaged(_)) => false,
        };
        self.connection = is_sound.then_some(connection);
        outcome
    }
}

fn between_begin_and_commit<T>(
    connection: &Connection,
    body: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    execute(connection, "BEGIN IMMEDIATE", ())?;
    let value = body(connection)?;
    let committed = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute(()));
    committed.map_err(commit_error)?;
    Ok(value)
}

fn open(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", "0")?;
    connection.pragma_update(None, "cache_size", PAGE_CACHE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// `Fenced` unless the session may still write.
pub(super) fn require_active(connection: &Connection, session: SessionId) -> Result<(), StoreError> {
    let is_active = "SELECT 1 FROM sessions WHERE session = ?1 AND active = 1";
    first(connection, is_active, params![session.0], |_| Ok(()))?.ok_or(StoreError::Fenced)
}

/// A statement that is run more than once before COMMIT.
pub(super) fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<CachedStatement<'c>, StoreError> {
    connection.prepare_cached(sql).map_err(not_committed)
}

/// Rows changed by a statement before COMMIT.
pub(super) fn execute(connection: &Connection, sql: &str, parameters: impl Params) -> Result<usize, StoreError> {
    let changed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
    changed.map_err(not_committed)
}

/// The first row of a statement.
pub(super) fn first<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let found =
        connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(parameters, row).optional());
    found.map_err(not_committed)
}

/// All rows of a statement.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(not_committed)?;
    let rows = statement.query_map(parameters, row).and_then(Iterator::collect);
    rows.map_err(not_committed)
}

fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code & 0xff)
}

/// An error before COMMIT: nothing happened.
pub(super) fn not_committed(error: rusqlite::Error) -> StoreError {
    match primary_code(&error) {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => StoreError::Damaged(error.to_string()),
        _ => StoreError::NotCommitted(Box::new(error)),
    }
}

/// What an error of COMMIT itself means; see the head of `writer.rs`.
fn commit_error(error: rusqlite::Error) -> StoreError {
    match primary_code(&error) {
        Some(code) if LOCKED_OUT_OR_FULL.contains(&code) => StoreError::NotCommitted(Box::new(error)),
        _ => StoreError::Unknown(Box::new(error)),
    }
}
