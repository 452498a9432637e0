//! The schema's versions, embedded: each file of `migrations/sqlite` once, in order, never changed after a release.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// `PRAGMA application_id` of a StreamHouse metadata file: "StHs".
pub(super) const APPLICATION_ID: i64 = 0x5374_4873;

/// Every version this binary knows.
pub(super) fn migrator() -> Migrator {
    let init = include_str!("../../migrations/sqlite/0001_init.sql").into_sql_str();
    let many_agents = include_str!("../../migrations/sqlite/0002_many_agents.sql").into_sql_str();
    let lane_reports = include_str!("../../migrations/sqlite/0003_lane_reports.sql").into_sql_str();
    let retired_segments = include_str!("../../migrations/sqlite/0004_retired_segments.sql").into_sql_str();
    let coordinator_rows = include_str!("../../migrations/sqlite/0005_coordinator_rows.sql").into_sql_str();
    let cleaned_offsets = include_str!("../../migrations/sqlite/0006_cleaned_offsets.sql").into_sql_str();
    Migrator::with_migrations(vec![
        Migration::new(1, "init".into(), MigrationType::Simple, init, false),
        Migration::new(2, "many_agents".into(), MigrationType::Simple, many_agents, false),
        Migration::new(3, "lane_reports".into(), MigrationType::Simple, lane_reports, false),
        Migration::new(4, "retired_segments".into(), MigrationType::Simple, retired_segments, false),
        Migration::new(5, "coordinator_rows".into(), MigrationType::Simple, coordinator_rows, false),
        Migration::new(6, "cleaned_offsets".into(), MigrationType::Simple, cleaned_offsets, false),
    ])
}
