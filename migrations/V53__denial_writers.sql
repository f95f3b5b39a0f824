-- Purpose  The last batch of refusals that each node has written, by its own count: one whose COMMIT was not answered is sent again,
--          and is not counted again. Rows of nodes that have ended go after a week.
-- Phase    expand
-- Locks    none on existing tables
-- Size     a row for each start of a node in the last week
-- Undo     DROP TABLE denial_writers;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE denial_writers (
    writer_id uuid NOT NULL,
    batch bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT denial_writers_pkey PRIMARY KEY (writer_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE denial_writers IS 'The last batch of refusals that each node has written';
COMMENT ON COLUMN denial_writers.writer_id IS 'A node, from its start to its end; a UUIDv7';
COMMENT ON COLUMN denial_writers.batch IS 'Its last batch that is in denials, denial_minutes and denial_hours; counted from 1';
COMMENT ON COLUMN denial_writers.written_at IS 'When that was written';

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON denial_writers TO headroom_app;
    END IF;
END
$$;
