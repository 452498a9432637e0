-- Schema version 5: what coordinators know, as rows, and how often each partition's coordinator wrote. docs/metadata.md explains it.

ALTER TABLE partitions ADD COLUMN coordinator_sequence INTEGER NOT NULL DEFAULT 0;

CREATE TABLE coordinator_rows (
    organization INTEGER NOT NULL,
    topic_id     BLOB    NOT NULL,
    partition    INTEGER NOT NULL,
    owner        BLOB    NOT NULL,
    kind         INTEGER NOT NULL,
    item         BLOB    NOT NULL,
    value        BLOB    NOT NULL,
    PRIMARY KEY (organization, topic_id, partition, owner, kind, item)
) STRICT, WITHOUT ROWID;
