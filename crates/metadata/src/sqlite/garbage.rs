//! What garbage collection rests on: which segments nothing refers to, and that it stays so.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use segment::{REWRITE_SEQUENCE_BASE, TimestampMs};

use super::{
    database_clock,
    direct::{execute, first},
};
use crate::{Claim, FoundObject, StoreError};

/// Session, lane sequence, organization.
pub(super) type Slot = (i64, i64, i64);

const RETIRE: &str = "
    UPDATE segments SET kind = 2, created_at = ?4
     WHERE session = ?1 AND lane_sequence = ?2 AND organization = ?3 AND kind = 1
       AND NOT EXISTS (SELECT 1 FROM ranges WHERE session = ?1 AND lane_sequence = ?2 AND organization = ?3)";

/// Retires those of these segments that have no range.
pub(super) fn retire_empty(
    connection: &Connection,
    slots: impl IntoIterator<Item = Slot>,
    now: TimestampMs,
) -> Result<(), StoreError> {
    for (session, lane_sequence, organization) in slots.into_iter().collect::<BTreeSet<_>>() {
        execute(connection, RETIRE, params![session, lane_sequence, organization, now])?;
    }
    Ok(())
}

pub(super) const TAKE_FOR_TOMBSTONE: &str = "
    INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
    VALUES (?1, ?2, ?3, ?4, 0, 0, ?5) ON CONFLICT DO NOTHING";

pub(super) const SELECT_HOLDER: &str = "
    SELECT object_key, kind FROM segments WHERE session = ?1 AND lane_sequence = ?2 AND organization = ?3";

pub(super) fn claim(connection: &Connection, object: &FoundObject) -> Result<Claim, StoreError> {
    let FoundObject { session, lane_sequence, organization, object_key } = object;
    let known = "SELECT 1 FROM sessions WHERE session = ?1";
    if first(connection, known, params![session.0], |_| Ok(()))?.is_none() {
        return Ok(Claim::UnknownSession);
    }
    let tombstone = params![session.0, lane_sequence, organization.0, object_key, database_clock()];
    execute(connection, TAKE_FOR_TOMBSTONE, tombstone)?;
    // A slot that another key took keeps this one from ever being committed.
    let slot = params![session.0, lane_sequence, organization.0];
    let holder = first(connection, SELECT_HOLDER, slot, |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    Ok(match holder {
        Some((key, 1)) if key == *object_key => Claim::Referenced,
        Some((key, 2)) if key == *object_key => Claim::Retired,
        _ => Claim::Garbage,
    })
}

/// Asks as session $1: its row, if it is active, beside each object.
pub(super) const SELECT_UNREFERENCED: &str = "
    SELECT g.session, g.lane_sequence, g.organization, g.object_key
      FROM sessions AS s
      LEFT JOIN (
          SELECT * FROM (
              SELECT session, lane_sequence, organization, object_key, kind, created_at FROM segments
               WHERE kind <> 1 AND kind = 2 AND created_at <= $2
               ORDER BY created_at, session, lane_sequence, organization LIMIT $3)
          UNION ALL
          SELECT * FROM (
              SELECT session, lane_sequence, organization, object_key, kind, created_at FROM segments AS t
               WHERE kind <> 1 AND kind = 0
                 AND NOT EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = t.session AND u.active = 1)
               ORDER BY created_at, session, lane_sequence, organization LIMIT $3)
          ORDER BY kind DESC, created_at, session, lane_sequence, organization LIMIT $3) AS g
     WHERE s.session = $1 AND s.active = 1
     ORDER BY g.kind DESC, g.created_at, g.session, g.lane_sequence, g.organization";

/// Remembers that the session committed it, before the last trace of that goes.
const NOTE_COLLECTED: &str = "
    UPDATE sessions SET last_collected = ?2 WHERE session = ?1 AND last_collected < ?2
       AND EXISTS (SELECT 1 FROM segments
                    WHERE session = ?1 AND lane_sequence = ?2 AND organization = ?3 AND object_key = ?4 AND kind = 2)";

/// A rewrite may come in parts: none that comes later finds the slot free.
const KEEP_SLOT: &str = "
    UPDATE segments SET kind = 0
     WHERE session = ?1 AND lane_sequence = ?2 AND organization = ?3 AND object_key = ?4 AND kind = 2
       AND EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = ?1 AND u.active = 1)";

const FORGET: &str = "
    DELETE FROM segments
     WHERE session = ?1 AND lane_sequence = ?2 AND organization = ?3 AND object_key = ?4
       AND (kind = 2
            OR kind = 0 AND NOT EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = ?1 AND u.active = 1))";

/// Whether it was forgotten.
pub(super) fn forget(connection: &Connection, object: &FoundObject) -> Result<bool, StoreError> {
    let FoundObject { session, lane_sequence, organization, object_key } = object;
    let row = params![session.0, lane_sequence, organization.0, object_key];
    if *lane_sequence < REWRITE_SEQUENCE_BASE {
        execute(connection, NOTE_COLLECTED, row)?;
    } else if execute(connection, KEEP_SLOT, row)? > 0 {
        return Ok(true);
    }
    Ok(execute(connection, FORGET, row)? > 0)
}

/// Highest lane sequence that each session is known to have committed; $1 is the first that is not a lane's.
pub(super) const SELECT_LAST: &str = "
    SELECT session, max(last, last_collected) FROM
        (SELECT session, last_collected,
                coalesce((SELECT g.lane_sequence FROM segments AS g
                           WHERE g.session = s.session AND g.kind <> 0 AND g.lane_sequence < $1
                           ORDER BY g.lane_sequence DESC LIMIT 1), -1) AS last
           FROM sessions AS s)
     WHERE max(last, last_collected) >= 0 ORDER BY session";
