//! Purging of deleted topics: their rows go in bounded steps, and segments that lose their last range by it are retired.

use rusqlite::{Connection, params};

use super::{
    database_clock,
    direct::{all, execute, first},
    garbage,
};
use crate::StoreError;

/// Oldest first. "Up to the last of the first ?3 rows", because a row-value IN would visit every row of the organization.
const DELETE_RANGES: &str = "
    DELETE FROM ranges WHERE organization = ?1 AND topic_id = ?2 AND (partition, base_offset) <=
        (SELECT partition, base_offset FROM
            (SELECT partition, base_offset FROM ranges WHERE organization = ?1 AND topic_id = ?2
              ORDER BY partition, base_offset LIMIT ?3)
          ORDER BY partition DESC, base_offset DESC LIMIT 1)
    RETURNING session, lane_sequence, organization";

const DELETE_REST: [&str; 5] = [
    "DELETE FROM producer_snapshots WHERE rowid IN
        (SELECT rowid FROM producer_snapshots WHERE organization = ?1 AND topic_id = ?2 LIMIT ?3)",
    "DELETE FROM leader_epochs WHERE organization = ?1 AND topic_id = ?2 AND (partition, start_offset) <=
        (SELECT partition, start_offset FROM
            (SELECT partition, start_offset FROM leader_epochs WHERE organization = ?1 AND topic_id = ?2
              ORDER BY partition, start_offset LIMIT ?3)
          ORDER BY partition DESC, start_offset DESC LIMIT 1)",
    "DELETE FROM coordinator_rows WHERE organization = ?1 AND topic_id = ?2 AND (partition, owner, kind, item) <=
        (SELECT partition, owner, kind, item FROM
            (SELECT partition, owner, kind, item FROM coordinator_rows WHERE organization = ?1 AND topic_id = ?2
              ORDER BY partition, owner, kind, item LIMIT ?3)
          ORDER BY partition DESC, owner DESC, kind DESC, item DESC LIMIT 1)",
    "DELETE FROM partitions WHERE organization = ?1 AND topic_id = ?2 AND partition <=
        (SELECT max(partition) FROM
            (SELECT partition FROM partitions WHERE organization = ?1 AND topic_id = ?2
              ORDER BY partition LIMIT ?3))",
    "DELETE FROM topics WHERE organization = ?1 AND topic_id = ?2 AND deleted = 1 AND ?3 > 0",
];

const NEXT_TOPIC: &str =
    "SELECT organization, topic_id FROM topics WHERE deleted = 1 ORDER BY organization, topic_id LIMIT 1";

/// Deletes at most `rows` rows of deleted topics, each topic's own row last.
pub(super) fn purge_deleted(connection: &Connection, rows: u64) -> Result<u64, StoreError> {
    let mut left = rows;
    while left > 0 {
        let topic = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        let Some((organization, topic_id)) = first(connection, NEXT_TOPIC, (), topic)? else { break };
        left -= purge_topic(connection, organization, &topic_id, left)?.min(left);
    }
    Ok(rows - left)
}

/// Deletes at most `rows` rows of one topic.
fn purge_topic(connection: &Connection, organization: i64, topic_id: &[u8], rows: u64) -> Result<u64, StoreError> {
    let limit = |left: u64| i64::try_from(left).unwrap_or(i64::MAX);
    let slot = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let slots = all(connection, DELETE_RANGES, params![organization, topic_id, limit(rows)], slot)?;
    let mut left = rows.saturating_sub(slots.len() as u64);
    garbage::retire_empty(connection, slots, database_clock())?;
    for sql in DELETE_REST {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(execute(connection, sql, params![organization, topic_id, limit(left)])? as u64);
    }
    Ok(rows - left)
}
