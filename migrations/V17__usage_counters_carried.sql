-- Purpose  Beside what is used of a window: what was carried into it, and what refunds gave back in it. Constant defaults, which
--          Postgres keeps in the catalogue: no row is written.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on usage_counters, for an instant
-- Size     17 bytes a row that changes from now on
-- Undo     ALTER TABLE usage_counters DROP COLUMN carried, DROP COLUMN rolled_over, DROP COLUMN refunded;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE usage_counters
ADD COLUMN carried bigint NOT NULL DEFAULT 0,
ADD COLUMN rolled_over boolean NOT NULL DEFAULT false,
ADD COLUMN refunded bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN usage_counters.carried IS 'Units that the window before left and that this one may use beside its limit';
COMMENT ON COLUMN usage_counters.rolled_over IS 'Whether the window before was carried over, be it with nothing left';
COMMENT ON COLUMN usage_counters.refunded IS 'Units that refunds gave back in the window; used has them taken off already';
