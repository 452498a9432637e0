-- Schema version 3: what an agent says of its lane with each renewal. docs/metadata.md explains it.

ALTER TABLE session_renewals ADD COLUMN stuck INTEGER NOT NULL DEFAULT 0 CHECK (stuck IN (0, 1));
ALTER TABLE session_renewals ADD COLUMN proofs INTEGER NOT NULL DEFAULT 0;
