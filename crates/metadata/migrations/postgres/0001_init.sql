-- Schema version 1 on PostgreSQL: the tables of docs/metadata.md. A file here never changes once released.
-- Times are milliseconds since the Unix epoch.

CREATE TABLE cluster (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster_id UUID    NOT NULL,
    created_at BIGINT  NOT NULL,
    version    BIGINT  NOT NULL
);

CREATE TABLE organizations (
    organization BIGINT NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL UNIQUE
);
INSERT INTO organizations (organization, name) VALUES (1, 'default');

CREATE TABLE agents (
    agent_id TEXT    NOT NULL PRIMARY KEY,
    node_id  INTEGER NOT NULL UNIQUE
);

CREATE TABLE sessions (
    session        BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id       TEXT    NOT NULL,
    active         BOOLEAN NOT NULL,
    agent_group    TEXT    NOT NULL,
    zone           TEXT    NOT NULL,
    managed_topics TEXT    NOT NULL,
    kafka_address  TEXT    NOT NULL,
    grpc_address   TEXT    NOT NULL,
    accepts_leases BOOLEAN NOT NULL,
    last_collected BIGINT  NOT NULL DEFAULT -1,
    opened_at      BIGINT  NOT NULL
);
CREATE UNIQUE INDEX sessions_active ON sessions (agent_id) WHERE active;

-- Beside the session: every commit shares a lock on the session's row, a renewal writes this one.
CREATE TABLE session_renewals (
    session    BIGINT  NOT NULL PRIMARY KEY,
    counter    BIGINT  NOT NULL,
    suspected  BOOLEAN NOT NULL DEFAULT FALSE,
    renewed_at BIGINT  NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE producer_ids (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    next BIGINT  NOT NULL
);
INSERT INTO producer_ids (one, next) VALUES (1, 0);

CREATE TABLE topics (
    organization       BIGINT   NOT NULL,
    topic_id           UUID     NOT NULL,
    name               TEXT     NOT NULL,
    metric_name        TEXT     NOT NULL,
    partition_count    INTEGER  NOT NULL CHECK (partition_count >= 1),
    agent_group        TEXT     NOT NULL,
    replication_factor SMALLINT NOT NULL,
    configs            TEXT     NOT NULL,
    created_at         BIGINT   NOT NULL,
    deleted            BOOLEAN  NOT NULL,
    changed            BIGINT   NOT NULL,
    PRIMARY KEY (organization, topic_id)
);
CREATE UNIQUE INDEX topics_live_name ON topics (organization, name) WHERE NOT deleted;
CREATE UNIQUE INDEX topics_live_metric_name ON topics (organization, metric_name) WHERE NOT deleted;
CREATE INDEX topics_deleted ON topics (organization, topic_id) WHERE deleted;
CREATE INDEX topics_changed ON topics (changed);

CREATE TABLE deleted_topics (
    version      BIGINT NOT NULL PRIMARY KEY,
    organization BIGINT NOT NULL,
    topic_id     UUID   NOT NULL,
    deleted_at   BIGINT NOT NULL
);

CREATE TABLE topic_name_floors (
    organization BIGINT  NOT NULL,
    name         TEXT    NOT NULL,
    leader_epoch INTEGER NOT NULL,
    PRIMARY KEY (organization, name)
);

-- Each segment commit updates the rows of its partitions in place: no indexed column changes, and pages have room.
CREATE TABLE partitions (
    organization       BIGINT  NOT NULL,
    topic_id           UUID    NOT NULL,
    partition          INTEGER NOT NULL,
    session            BIGINT,
    leader_epoch       INTEGER NOT NULL,
    next_offset        BIGINT  NOT NULL,
    log_start_offset   BIGINT  NOT NULL,
    last_append_time   BIGINT  NOT NULL,
    last_session       BIGINT,
    last_lane_sequence BIGINT,
    deleted            BOOLEAN NOT NULL,
    changed            BIGINT  NOT NULL,
    PRIMARY KEY (organization, topic_id, partition)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX partitions_changed ON partitions (changed);

CREATE TABLE leader_epochs (
    organization BIGINT  NOT NULL,
    topic_id     UUID    NOT NULL,
    partition    INTEGER NOT NULL,
    start_offset BIGINT  NOT NULL,
    leader_epoch INTEGER NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, start_offset)
);

CREATE TABLE segments (
    session       BIGINT   NOT NULL,
    lane_sequence BIGINT   NOT NULL,
    organization  BIGINT   NOT NULL,
    object_key    TEXT     NOT NULL UNIQUE,
    kind          SMALLINT NOT NULL CHECK (kind IN (0, 1)),
    object_bytes  BIGINT   NOT NULL,
    created_at    BIGINT   NOT NULL,
    PRIMARY KEY (session, lane_sequence, organization)
);

CREATE TABLE ranges (
    organization  BIGINT  NOT NULL,
    topic_id      UUID    NOT NULL,
    partition     INTEGER NOT NULL,
    base_offset   BIGINT  NOT NULL,
    next_offset   BIGINT  NOT NULL,
    leader_epoch  INTEGER NOT NULL,
    session       BIGINT  NOT NULL,
    lane_sequence BIGINT  NOT NULL,
    byte_start    BIGINT  NOT NULL,
    byte_len      BIGINT  NOT NULL,
    checksum      BIGINT  NOT NULL,
    max_timestamp BIGINT  NOT NULL,
    producers     BYTEA   NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, base_offset)
);
CREATE INDEX ranges_by_segment ON ranges (session, lane_sequence, organization);

CREATE TABLE producer_snapshots (
    organization BIGINT  NOT NULL,
    topic_id     UUID    NOT NULL,
    partition    INTEGER NOT NULL,
    as_of_offset BIGINT  NOT NULL,
    snapshot     BYTEA   NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, as_of_offset)
);
