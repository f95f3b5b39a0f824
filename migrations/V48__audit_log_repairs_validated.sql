-- Purpose  Marks the check of V47 as holding for the rows from before it, too.
-- Phase    contract
-- Locks    SHARE UPDATE EXCLUSIVE on audit_log while it is read: reads and writes go on
-- Size     reads the table once
-- Undo     nothing to undo
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

ALTER TABLE audit_log VALIDATE CONSTRAINT audit_log_action_known;
