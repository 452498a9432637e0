-- Schema version 4: segments that nothing refers to any more are marked (kind 2), so that nobody has to look for them. The key
-- of an object names its slot, so the slot alone keeps both unique. docs/metadata.md explains it.

CREATE TABLE segments_4 (
    session       INTEGER NOT NULL,
    lane_sequence INTEGER NOT NULL,
    organization  INTEGER NOT NULL,
    object_key    TEXT    NOT NULL,
    kind          INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),
    object_bytes  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (session, lane_sequence, organization)
) STRICT, WITHOUT ROWID;
INSERT INTO segments_4 (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
SELECT s.session, s.lane_sequence, s.organization, s.object_key,
       CASE WHEN s.kind = 0 THEN 0
            WHEN EXISTS (SELECT 1 FROM ranges AS r
                          WHERE r.session = s.session AND r.lane_sequence = s.lane_sequence
                            AND r.organization = s.organization) THEN 1
            ELSE 2 END,
       s.object_bytes, s.created_at
  FROM segments AS s;
DROP TABLE segments;
ALTER TABLE segments_4 RENAME TO segments;
CREATE INDEX segments_unreferenced ON segments (kind, created_at) WHERE kind <> 1;
