-- Schema version 4 on PostgreSQL: what coordinators know, as rows, and how often each partition's coordinator wrote.
-- docs/metadata.md explains it.

ALTER TABLE partitions ADD COLUMN coordinator_sequence BIGINT NOT NULL DEFAULT 0;

-- The same keys are written again and again: pages have room, so that updates stay in place and touch no index. Owners are
-- bytes: text has an order of its own, and cannot hold every character that a group id may have.
CREATE TABLE coordinator_rows (
    organization BIGINT   NOT NULL,
    topic_id     UUID     NOT NULL,
    partition    INTEGER  NOT NULL,
    owner        BYTEA    NOT NULL,
    kind         SMALLINT NOT NULL,
    item         BYTEA    NOT NULL,
    value        BYTEA    NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, owner, kind, item)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
