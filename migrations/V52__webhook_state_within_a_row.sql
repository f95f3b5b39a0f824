-- Purpose  How far the row of the feed that comes next was looked through for webhooks, so that a look is bounded in items: a row
--          is a flush. A node of an older version moves place alone and looks through the row once more, which adds nothing.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on webhook_state, which has one row, for an instant
-- Size     16 bytes
-- Undo     ALTER TABLE webhook_state DROP COLUMN begun_place, DROP COLUMN begun_number;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE webhook_state
ADD COLUMN begun_place bigint NOT NULL DEFAULT 0,
ADD COLUMN begun_number bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN webhook_state.begun_place IS 'The place that begun_number belongs to; it counts when it is the one behind place';
COMMENT ON COLUMN webhook_state.begun_number IS 'The last item of that row that was looked at; 0 is none';
