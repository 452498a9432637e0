//! What garbage collection rests on: which segments nothing refers to, and that it stays so.

use segment::{REWRITE_SEQUENCE_BASE, SessionId};
use sqlx::postgres::PgRow;

use super::{Statement, changed, column, link::Link, not_committed};
use crate::{Claim, FoundObject, StoreError};

/// Session, lane sequence, organization.
pub(super) type Slot = (i64, i64, i64);

/// In the order of slots, after sessions and partitions: whoever deleted the last range but one and whoever deletes the last
/// meet here, and the second one sees what the first did.
const LOCK_SEGMENTS: &str = "
    SELECT 1 FROM segments AS s
      JOIN unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (session, lane_sequence, organization)
        ON s.session = k.session AND s.lane_sequence = k.lane_sequence AND s.organization = k.organization
     WHERE s.kind = 1
     ORDER BY s.session, s.lane_sequence, s.organization FOR UPDATE OF s";

const RETIRE: &str = "
    UPDATE segments AS s SET kind = 2, created_at = (extract(epoch FROM statement_timestamp()) * 1000)::bigint
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (session, lane_sequence, organization)
     WHERE s.session = k.session AND s.lane_sequence = k.lane_sequence AND s.organization = k.organization
       AND s.kind = 1
       AND NOT EXISTS (SELECT 1 FROM ranges AS r
                        WHERE r.session = k.session AND r.lane_sequence = k.lane_sequence
                          AND r.organization = k.organization)";

/// Retires those of these segments that have no range.
pub(super) async fn retire_empty(connection: &mut Link, slots: &[Slot]) -> Result<(), StoreError> {
    if slots.is_empty() {
        return Ok(());
    }
    for sql in [LOCK_SEGMENTS, RETIRE] {
        let one = |field: fn(&Slot) -> i64| slots.iter().map(field).collect::<Vec<i64>>();
        changed(
            connection,
            sqlx::query(sql).bind(one(|slot| slot.0)).bind(one(|slot| slot.1)).bind(one(|slot| slot.2)),
        )
        .await?;
    }
    Ok(())
}

/// Waits for commits of these slots in flight, and then decides.
const TAKE_FOR_TOMBSTONES: &str = "
    INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
    SELECT k.session, k.lane_sequence, k.organization, k.object_key, 0, 0,
           (extract(epoch FROM clock_timestamp()) * 1000)::bigint
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) WITH ORDINALITY
           AS k (session, lane_sequence, organization, object_key, n)
      JOIN sessions AS u ON u.session = k.session
     ORDER BY k.session, k.lane_sequence, k.organization, k.n
    ON CONFLICT DO NOTHING";

/// Per object: whether its session is known; what its slot holds under its key, if anything; whether it is a segment without
/// ranges, as a rejected commit leaves behind that ended before it could retire it.
const SELECT_HOLDERS: &str = "
    SELECT EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = k.session), s.kind,
           coalesce(s.kind = 1, FALSE)
           AND NOT EXISTS (SELECT 1 FROM ranges AS r
                            WHERE r.session = s.session AND r.lane_sequence = s.lane_sequence
                              AND r.organization = s.organization)
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) WITH ORDINALITY
           AS k (session, lane_sequence, organization, object_key, n)
      LEFT JOIN segments AS s
        ON s.session = k.session AND s.lane_sequence = k.lane_sequence AND s.organization = k.organization
       AND s.object_key = k.object_key
     ORDER BY k.n";

pub(super) async fn claim(connection: &mut Link, objects: &[FoundObject]) -> Result<Vec<Claim>, StoreError> {
    changed(connection, bind_objects(TAKE_FOR_TOMBSTONES, objects)).await?;
    let holders = bind_objects(SELECT_HOLDERS, objects).fetch_all(&mut *connection).await.map_err(not_committed)?;
    let (mut claims, mut empty) = (Vec::with_capacity(objects.len()), Vec::new());
    for (holder, object) in holders.iter().zip(objects) {
        let (is_known, kind, is_empty): (bool, Option<i16>, bool) =
            (column(holder, 0)?, column(holder, 1)?, column(holder, 2)?);
        if is_empty {
            empty.push((object.session.0, object.lane_sequence, object.organization.0));
        }
        claims.push(match kind {
            _ if !is_known => Claim::UnknownSession,
            Some(1) if !is_empty => Claim::Referenced,
            Some(1 | 2) => Claim::Retired,
            // Its own tombstone, or another key: that one keeps this one from ever being committed.
            _ => Claim::Garbage,
        });
    }
    retire_empty(connection, &empty).await?;
    Ok(claims)
}

/// Asks as session $1, if it is active: its row stands beside each object.
pub(super) const SELECT_UNREFERENCED: &str = "
    SELECT g.session, g.lane_sequence, g.organization, g.object_key
      FROM sessions AS s
      LEFT JOIN (
          (SELECT session, lane_sequence, organization, object_key, kind, created_at FROM segments
            WHERE kind = 2 AND created_at <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $2
            ORDER BY created_at, session, lane_sequence, organization LIMIT $3)
          UNION ALL
          (SELECT session, lane_sequence, organization, object_key, kind, created_at FROM segments AS t
            WHERE kind = 0 AND NOT EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = t.session AND u.active)
            ORDER BY created_at, session, lane_sequence, organization LIMIT $3)
          ORDER BY kind DESC, created_at, session, lane_sequence, organization LIMIT $3) AS g ON TRUE
     WHERE s.session = $1 AND s.active
     ORDER BY g.kind DESC, g.created_at, g.session, g.lane_sequence, g.organization";

/// Remembers that sessions committed them, before the last trace of that goes; $5 is the first number that is not a lane's.
const NOTE_COLLECTED: &str = "
    UPDATE sessions AS u SET last_collected = n.last
      FROM (SELECT s.session, max(s.lane_sequence) AS last
              FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
                   AS k (session, lane_sequence, organization, object_key)
              JOIN segments AS s
                ON s.session = k.session AND s.lane_sequence = k.lane_sequence AND s.organization = k.organization
               AND s.object_key = k.object_key
             WHERE s.kind = 2 AND s.lane_sequence < $5 GROUP BY s.session) AS n
     WHERE u.session = n.session AND u.last_collected < n.last";

/// A rewrite may come in parts: none that comes later finds the slot free. $5 is the first number of a rewrite.
const KEEP_SLOTS: &str = "
    UPDATE segments AS s SET kind = 0
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
           AS k (session, lane_sequence, organization, object_key)
     WHERE s.session = k.session AND s.lane_sequence = k.lane_sequence AND s.organization = k.organization
       AND s.object_key = k.object_key AND s.kind = 2 AND s.lane_sequence >= $5
       AND EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = s.session AND u.active)";

const FORGET: &str = "
    DELETE FROM segments AS s
     USING unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
           AS k (session, lane_sequence, organization, object_key)
     WHERE s.session = k.session AND s.lane_sequence = k.lane_sequence AND s.organization = k.organization
       AND s.object_key = k.object_key
       AND (s.kind = 2
            OR s.kind = 0 AND NOT EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = s.session AND u.active))";

/// How many were forgotten.
pub(super) async fn forget(connection: &mut Link, objects: &[FoundObject]) -> Result<u64, StoreError> {
    changed(connection, bind_objects(NOTE_COLLECTED, objects).bind(REWRITE_SEQUENCE_BASE)).await?;
    let kept = changed(connection, bind_objects(KEEP_SLOTS, objects).bind(REWRITE_SEQUENCE_BASE)).await?;
    Ok(kept + changed(connection, bind_objects(FORGET, objects)).await?)
}

/// Objects as four arrays.
fn bind_objects(sql: &'static str, objects: &[FoundObject]) -> Statement {
    let one = |field: fn(&FoundObject) -> i64| objects.iter().map(field).collect::<Vec<i64>>();
    sqlx::query(sql)
        .bind(one(|object| object.session.0))
        .bind(one(|object| object.lane_sequence))
        .bind(one(|object| object.organization.0))
        .bind(objects.iter().map(|object| object.object_key.clone()).collect::<Vec<_>>())
}

/// An object of a row that may have none.
pub(super) fn found_object(row: &PgRow) -> Result<Option<FoundObject>, StoreError> {
    let Some(session) = column::<Option<i64>>(row, 0)? else { return Ok(None) };
    let (lane_sequence, organization) = (column(row, 1)?, segment::OrganizationId(column(row, 2)?));
    Ok(Some(FoundObject { session: SessionId(session), lane_sequence, organization, object_key: column(row, 3)? }))
}

/// Highest lane sequence that each session is known to have committed; $1 is the first that is not a lane's.
pub(super) const SELECT_LAST: &str = "
    SELECT session, greatest(last, last_collected) FROM
        (SELECT s.session, s.last_collected,
                coalesce((SELECT g.lane_sequence FROM segments AS g
                           WHERE g.session = s.session AND g.kind <> 0 AND g.lane_sequence < $1
                           ORDER BY g.lane_sequence DESC LIMIT 1), -1) AS last
           FROM sessions AS s) AS known
     WHERE greatest(last, last_collected) >= 0 ORDER BY session";
