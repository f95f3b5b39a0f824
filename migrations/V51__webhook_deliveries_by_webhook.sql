-- Purpose  What is to be sent to one webhook, the earliest first: a look takes a few of each, so that one that hangs keeps nobody
--          else waiting. Takes the place of the index over all webhooks; a node of an older version reads this one instead.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on webhook_deliveries while the index is built (about 1 s a million rows that wait): deliveries wait,
--          decisions and flushes go on
-- Size     16 bytes a delivery that waits
-- Undo     DROP INDEX webhook_deliveries_webhook_pending_idx;
--          CREATE INDEX webhook_deliveries_pending_idx ON webhook_deliveries (next_at) WHERE state = 'pending';
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX webhook_deliveries_webhook_pending_idx ON webhook_deliveries (webhook_id, next_at)
WHERE state = 'pending';

-- squawk-ignore require-concurrent-index-deletion
DROP INDEX webhook_deliveries_pending_idx;
