-- Schema version 6: how far each partition's log was compacted. docs/metadata.md explains it.

ALTER TABLE partitions ADD COLUMN cleaned_offset INTEGER NOT NULL DEFAULT 0;
