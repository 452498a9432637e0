//! Claims of garbage collection: nothing is deleted from the bucket but what a tombstone holds.

use super::{changed, column, link::Link, not_committed};
use crate::{Claim, FoundObject, StoreError};

/// What is known of a key: whether it is a segment, and whether that has ranges. The lock keeps it so.
const SELECT_HOLDER: &str = "
    SELECT s.kind = 1, EXISTS (SELECT 1 FROM ranges AS r
                                WHERE r.session = s.session AND r.lane_sequence = s.lane_sequence
                                  AND r.organization = s.organization)
      FROM segments AS s WHERE s.object_key = $1 FOR UPDATE OF s";

/// Remembers that the session committed it, before the last trace of that goes.
const NOTE_COLLECTED: &str = "
    UPDATE sessions AS u SET last_collected = greatest(u.last_collected, s.lane_sequence)
      FROM segments AS s WHERE s.object_key = $1 AND u.session = s.session";

pub(super) async fn claim(connection: &mut Link, object: &FoundObject) -> Result<Claim, StoreError> {
    let known = sqlx::query("SELECT 1 FROM sessions WHERE session = $1").bind(object.session.0);
    if known.fetch_optional(&mut *connection).await.map_err(not_committed)?.is_none() {
        return Ok(Claim::UnknownSession);
    }
    // Waits for a commit of the same key in flight and then decides. A slot that another key took keeps this one from ever
    // being committed.
    let insert = "
        INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
        VALUES ($1, $2, $3, $4, 0, 0, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING";
    let insert = sqlx::query(insert).bind(object.session.0).bind(object.lane_sequence).bind(object.organization.0);
    changed(connection, insert.bind(object.object_key.clone())).await?;
    let holder = sqlx::query(SELECT_HOLDER).bind(object.object_key.clone());
    let Some(holder) = holder.fetch_optional(&mut *connection).await.map_err(not_committed)? else {
        return Ok(Claim::Garbage);
    };
    let (is_segment, has_ranges): (bool, bool) = (column(&holder, 0)?, column(&holder, 1)?);
    if has_ranges {
        return Ok(Claim::Referenced);
    }
    if is_segment {
        bury(connection, &object.object_key).await?;
    }
    Ok(Claim::Garbage)
}

/// Turns a segment without ranges into a tombstone.
async fn bury(connection: &mut Link, object_key: &str) -> Result<(), StoreError> {
    for sql in [NOTE_COLLECTED, "UPDATE segments SET kind = 0 WHERE object_key = $1"] {
        changed(connection, sqlx::query(sql).bind(object_key.to_owned())).await?;
    }
    Ok(())
}

pub(super) async fn claim_unreferenced(connection: &mut Link, limit: u32) -> Result<Vec<String>, StoreError> {
    let find = "
        SELECT s.object_key, s.kind = 1 FROM segments AS s
         WHERE CASE s.kind
               WHEN 0 THEN NOT EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = s.session AND u.active)
               ELSE NOT EXISTS (SELECT 1 FROM ranges AS r
                                 WHERE r.session = s.session AND r.lane_sequence = s.lane_sequence
                                   AND r.organization = s.organization) END
         ORDER BY s.object_key COLLATE \"C\" LIMIT $1 FOR UPDATE OF s SKIP LOCKED";
    let find = sqlx::query(find).bind(i64::from(limit));
    let mut keys = Vec::new();
    for row in find.fetch_all(&mut *connection).await.map_err(not_committed)? {
        let key: String = column(&row, 0)?;
        if column::<bool>(&row, 1)? {
            bury(connection, &key).await?;
        }
        keys.push(key);
    }
    Ok(keys)
}

pub(super) async fn forget_tombstones(connection: &mut Link, object_keys: Vec<String>) -> Result<u64, StoreError> {
    let forget = "
        DELETE FROM segments AS s WHERE s.object_key = ANY ($1) AND s.kind = 0
           AND NOT EXISTS (SELECT 1 FROM sessions AS u WHERE u.session = s.session AND u.active)";
    changed(connection, sqlx::query(forget).bind(object_keys)).await
}

/// Highest lane sequence that each session is known to have committed.
pub(super) const SELECT_LAST: &str = "
    SELECT session, greatest(last, last_collected) FROM
        (SELECT s.session, s.last_collected,
                coalesce((SELECT g.lane_sequence FROM segments AS g WHERE g.session = s.session AND g.kind = 1
                           ORDER BY g.lane_sequence DESC LIMIT 1), -1) AS last
           FROM sessions AS s) AS known
     WHERE greatest(last, last_collected) >= 0 ORDER BY session";
