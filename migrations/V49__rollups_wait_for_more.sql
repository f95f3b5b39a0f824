-- Purpose  Tells how much waits to be folded and since when, so that a fold can wait for more sums of the same rows
--          (docs/adr/0015); and keeps long arrays as they are, since to compress them costs more than to write them.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on rollup_queue and feed for the change of their catalogue rows; no row is rewritten
-- Size     independent of the number of rows
-- Undo     ALTER TABLE rollup_queue DROP COLUMN lines, DROP COLUMN queued_at; SET STORAGE EXTENDED on the arrays
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE rollup_queue
ADD COLUMN lines bigint NOT NULL DEFAULT 0,
ADD COLUMN queued_at timestamptz NOT NULL DEFAULT now(),
ALTER COLUMN days SET STORAGE EXTERNAL,
ALTER COLUMN subjects SET STORAGE EXTERNAL,
ALTER COLUMN metrics SET STORAGE EXTERNAL,
ALTER COLUMN models SET STORAGE EXTERNAL,
ALTER COLUMN events SET STORAGE EXTERNAL,
ALTER COLUMN units SET STORAGE EXTERNAL;

ALTER TABLE feed ALTER COLUMN events SET STORAGE EXTERNAL;

COMMENT ON COLUMN rollup_queue.lines IS 'How many sums there are';
COMMENT ON COLUMN rollup_queue.queued_at IS 'When they were queued';
