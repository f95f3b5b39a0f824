-- Purpose  The log takes every kind of event. The check is replaced on the table and with it on each of its partitions.
--          NOT VALID: no row is read. The old check held for every row there is and allowed less, so the new one holds too;
--          the next migration lets Postgres see that for itself, under a lock that stops nobody.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on message_logs and its partitions, for an instant
-- Size     nothing
-- Undo     the same with the kinds consume and reset, once no row has another
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE message_logs
DROP CONSTRAINT message_logs_kind_known,
ADD CONSTRAINT message_logs_kind_known CHECK (kind IN (
    'consume', 'refund', 'reserve', 'commit', 'release', 'expire', 'set', 'reset', 'grant', 'transfer'
)) NOT VALID;

COMMENT ON COLUMN message_logs.kind IS
'What happened: consume, refund, reserve, commit, release, expire, set, reset, grant or transfer';
