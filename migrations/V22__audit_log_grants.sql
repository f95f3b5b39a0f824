-- Purpose  The audit log takes the acts on grants. NOT VALID: the old check held for every row and allowed less.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on audit_log, for an instant
-- Size     nothing
-- Undo     the same without grant.create and grant.revoke, once no row has them
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE audit_log
DROP CONSTRAINT audit_log_action_known,
ADD CONSTRAINT audit_log_action_known CHECK (action IN (
    'subject.put', 'subject.delete', 'usage.reset', 'usage.set', 'usage.decrement', 'grant.create', 'grant.revoke',
    'catalogue.replace', 'plan.put', 'model.put', 'key.create', 'key.revoke'
)) NOT VALID;
