-- Purpose  Drops the index that the one before replaces, so that a flush keeps as many as it did. A node of an older version
--          loads by the primary key until it is gone.
-- Phase    contract
-- Locks    ACCESS EXCLUSIVE on usage_counters, for an instant
-- Size     gives back the index
-- Undo     CREATE INDEX usage_counters_subject_window_end_idx ON usage_counters (subject, window_end);
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- squawk-ignore require-concurrent-index-deletion
DROP INDEX usage_counters_subject_window_end_idx;
