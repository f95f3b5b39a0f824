-- Purpose  Pages of the log, newest first, of all subjects or of those at and below one.
--          Subjects are put in the order of bytes, in which all that lies below a subject is one range. An event's id does not
--          tell its time (under an idempotency key it is that of its month), so pages go by occurred_at, for which a tree takes the
--          place of the block range index: its entries are made at its right edge, where they cost little.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on message_logs while its indexes are built (about 4 s a million rows): flushes wait and are tried
--          again, decisions go on
-- Size     about 25 bytes a row more
-- Undo     ALTER TABLE message_logs ALTER COLUMN subject TYPE text COLLATE "default"; then the old indexes of V2
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

-- squawk-ignore require-concurrent-index-deletion
DROP INDEX message_logs_subject_occurred_at_idx;

-- squawk-ignore require-concurrent-index-deletion
DROP INDEX message_logs_occurred_at_brin;

-- The texts stay as they are; nothing is rewritten.
-- squawk-ignore changing-column-type
ALTER TABLE message_logs ALTER COLUMN subject TYPE text COLLATE "C";

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX message_logs_subject_occurred_at_idx ON message_logs (subject, occurred_at DESC);

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX message_logs_occurred_at_idx ON message_logs (occurred_at DESC);
