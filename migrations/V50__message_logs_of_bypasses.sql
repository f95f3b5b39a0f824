-- Purpose  The rule that looks for bypasses: usage that was put or committed without a decision before it. It is asked for
--          every few seconds, and must not read an hour of everything else.
-- Phase    expand
-- Locks    SHARE on message_logs while the index is built (it reads all rows once): flushes wait and are tried again,
--          decisions go on
-- Size     the few rows that it is about
-- Undo     DROP INDEX message_logs_bypasses_idx;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX message_logs_bypasses_idx ON message_logs (occurred_at)
WHERE kind = 'set' OR (kind = 'commit' AND late);
