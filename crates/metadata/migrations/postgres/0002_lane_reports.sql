-- Schema version 2 on PostgreSQL: what an agent says of its lane with each renewal. docs/metadata.md explains it.

ALTER TABLE session_renewals
    ADD COLUMN stuck  BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN proofs BIGINT  NOT NULL DEFAULT 0;
