-- Purpose  Marks the check on kind as holding for the rows from before it, too.
-- Phase    contract
-- Locks    SHARE UPDATE EXCLUSIVE on message_logs and its partitions while they are read: reads and writes go on
-- Size     reads the log once
-- Undo     nothing to undo
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

ALTER TABLE message_logs VALIDATE CONSTRAINT message_logs_kind_known;
