-- Schema version 1. docs/metadata.md explains every table; a file here never changes once released.
-- Identifiers that are UUIDs are 16-byte BLOBs. Times are milliseconds since the Unix epoch.

CREATE TABLE cluster (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster_id BLOB    NOT NULL CHECK (length(cluster_id) = 16),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE organizations (
    organization INTEGER NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE
) STRICT;
INSERT INTO organizations (organization, name) VALUES (1, 'default');

CREATE TABLE agents (
    agent_id TEXT    NOT NULL PRIMARY KEY,
    node_id  INTEGER NOT NULL UNIQUE
) STRICT;

CREATE TABLE sessions (
    session        INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id       TEXT    NOT NULL,
    active         INTEGER NOT NULL CHECK (active IN (0, 1)),
    agent_group    TEXT    NOT NULL,
    zone           TEXT    NOT NULL,
    managed_topics TEXT    NOT NULL,
    kafka_address  TEXT    NOT NULL,
    grpc_address   TEXT    NOT NULL,
    opened_at      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX sessions_active ON sessions (agent_id) WHERE active = 1;

CREATE TABLE session_renewals (
    session    INTEGER NOT NULL PRIMARY KEY,
    counter    INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE producer_ids (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    next INTEGER NOT NULL
) STRICT;
INSERT INTO producer_ids (one, next) VALUES (1, 0);

CREATE TABLE topics (
    organization       INTEGER NOT NULL,
    topic_id           BLOB    NOT NULL CHECK (length(topic_id) = 16),
    name               TEXT    NOT NULL,
    metric_name        TEXT    NOT NULL,
    partition_count    INTEGER NOT NULL CHECK (partition_count >= 1),
    replication_factor INTEGER NOT NULL,
    configs            TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    deleted            INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    PRIMARY KEY (organization, topic_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX topics_live_name ON topics (organization, name) WHERE deleted = 0;
CREATE UNIQUE INDEX topics_live_metric_name ON topics (organization, metric_name) WHERE deleted = 0;
CREATE INDEX topics_deleted ON topics (organization, topic_id) WHERE deleted = 1;

CREATE TABLE topic_name_floors (
    organization INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    leader_epoch INTEGER NOT NULL,
    PRIMARY KEY (organization, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE partitions (
    organization       INTEGER NOT NULL,
    topic_id           BLOB    NOT NULL,
    partition          INTEGER NOT NULL,
    session            INTEGER,
    leader_epoch       INTEGER NOT NULL,
    next_offset        INTEGER NOT NULL,
    log_start_offset   INTEGER NOT NULL,
    last_append_time   INTEGER NOT NULL,
    last_session       INTEGER,
    last_lane_sequence INTEGER,
    deleted            INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    PRIMARY KEY (organization, topic_id, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE leader_epochs (
    organization INTEGER NOT NULL,
    topic_id     BLOB    NOT NULL,
    partition    INTEGER NOT NULL,
    start_offset INTEGER NOT NULL,
    leader_epoch INTEGER NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, start_offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE segments (
    session       INTEGER NOT NULL,
    lane_sequence INTEGER NOT NULL,
    organization  INTEGER NOT NULL,
    object_key    TEXT    NOT NULL UNIQUE,
    kind          INTEGER NOT NULL CHECK (kind IN (0, 1)),
    object_bytes  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (session, lane_sequence, organization)
) STRICT, WITHOUT ROWID;

CREATE TABLE ranges (
    organization  INTEGER NOT NULL,
    topic_id      BLOB    NOT NULL,
    partition     INTEGER NOT NULL,
    base_offset   INTEGER NOT NULL,
    next_offset   INTEGER NOT NULL,
    leader_epoch  INTEGER NOT NULL,
    session       INTEGER NOT NULL,
    lane_sequence INTEGER NOT NULL,
    byte_start    INTEGER NOT NULL,
    byte_len      INTEGER NOT NULL,
    checksum      INTEGER NOT NULL,
    max_timestamp INTEGER NOT NULL,
    producers     BLOB    NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, base_offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX ranges_by_segment ON ranges (session, lane_sequence, organization);

CREATE TABLE producer_snapshots (
    organization INTEGER NOT NULL,
    topic_id     BLOB    NOT NULL,
    partition    INTEGER NOT NULL,
    as_of_offset INTEGER NOT NULL,
    snapshot     BLOB    NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, as_of_offset)
) STRICT;
