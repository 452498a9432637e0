-- Schema version 5 on PostgreSQL: how far each partition's log was compacted. docs/metadata.md explains it.

ALTER TABLE partitions ADD COLUMN cleaned_offset BIGINT NOT NULL DEFAULT 0;
