-- Purpose  Marks the checks of V20 and V22 as holding for the rows from before them, too.
-- Phase    contract
-- Locks    SHARE UPDATE EXCLUSIVE on subjects and audit_log while they are read: reads and writes go on
-- Size     reads both tables once
-- Undo     nothing to undo
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

ALTER TABLE subjects VALIDATE CONSTRAINT subjects_grants_array;
ALTER TABLE subjects VALIDATE CONSTRAINT subjects_grants_length;
ALTER TABLE audit_log VALIDATE CONSTRAINT audit_log_action_known;
