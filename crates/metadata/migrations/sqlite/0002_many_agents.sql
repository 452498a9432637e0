-- Schema version 2: what several agents need of each other. docs/metadata.md explains it.

-- Raised, before anything else, by every transaction that changes topics, sessions or leases; `changed` is the version
-- that last changed a row, so that an agent reads only what it does not know.
ALTER TABLE cluster ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

ALTER TABLE sessions ADD COLUMN accepts_leases INTEGER NOT NULL DEFAULT 1 CHECK (accepts_leases IN (0, 1));
-- Highest lane sequence of a committed segment that was collected; -1 = none was.
ALTER TABLE sessions ADD COLUMN last_collected INTEGER NOT NULL DEFAULT -1;

ALTER TABLE session_renewals ADD COLUMN suspected INTEGER NOT NULL DEFAULT 0 CHECK (suspected IN (0, 1));

ALTER TABLE topics ADD COLUMN agent_group TEXT NOT NULL DEFAULT '';
ALTER TABLE topics ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;
CREATE INDEX topics_changed ON topics (changed);

ALTER TABLE partitions ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;
CREATE INDEX partitions_changed ON partitions (changed);

CREATE TABLE deleted_topics (
    version      INTEGER NOT NULL PRIMARY KEY,
    organization INTEGER NOT NULL,
    topic_id     BLOB    NOT NULL,
    deleted_at   INTEGER NOT NULL
) STRICT;
