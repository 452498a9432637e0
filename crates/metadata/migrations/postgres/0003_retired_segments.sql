-- Schema version 3 on PostgreSQL: segments that nothing refers to any more are marked (kind 2), so that nobody has to look for
-- them. The key of an object names its slot, so the slot alone keeps both unique. docs/metadata.md explains it.

ALTER TABLE segments
    DROP CONSTRAINT segments_kind_check,
    DROP CONSTRAINT segments_object_key_key,
    ADD CONSTRAINT segments_kind_check CHECK (kind IN (0, 1, 2));
UPDATE segments AS s SET kind = 2
 WHERE s.kind = 1
   AND NOT EXISTS (SELECT 1 FROM ranges AS r
                    WHERE r.session = s.session AND r.lane_sequence = s.lane_sequence AND r.organization = s.organization);
CREATE INDEX segments_unreferenced ON segments (kind, created_at) WHERE kind <> 1;
