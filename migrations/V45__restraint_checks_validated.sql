-- Purpose  Marks the checks of V44 as holding for the rows from before them, too.
-- Phase    contract
-- Locks    SHARE UPDATE EXCLUSIVE on subjects, webhooks and audit_log while they are read: reads and writes go on
-- Size     reads the three tables once
-- Undo     nothing to undo
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

ALTER TABLE subjects VALIDATE CONSTRAINT subjects_restraints_array;
ALTER TABLE subjects VALIDATE CONSTRAINT subjects_restraints_length;
ALTER TABLE webhooks VALIDATE CONSTRAINT webhooks_format_known;
ALTER TABLE audit_log VALIDATE CONSTRAINT audit_log_action_known;
