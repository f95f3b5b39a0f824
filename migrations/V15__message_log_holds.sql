-- Purpose  The log tells of holds, refunds, grants and rollover: two more kinds, and what such an event settles, until when it
--          holds and what was asked. The columns have no default and are null in every row there is, so no row is written. The
--          check is NOT VALID: the old one held for every row and allowed less; the next migration validates it.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on message_logs and its partitions, for an instant
-- Size     nothing
-- Undo     ALTER TABLE message_logs DROP COLUMN amount, DROP COLUMN until, DROP COLUMN settles, DROP COLUMN late,
--          DROP COLUMN overage; and the check as in V12
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE message_logs
ADD COLUMN amount bigint,
ADD COLUMN until timestamptz,
ADD COLUMN settles uuid,
ADD COLUMN late boolean,
ADD COLUMN overage boolean,
DROP CONSTRAINT message_logs_kind_known,
ADD CONSTRAINT message_logs_kind_known CHECK (kind IN (
    'consume', 'refund', 'reserve', 'commit', 'release', 'expire', 'extend', 'set', 'reset', 'grant', 'transfer', 'rollover'
)) NOT VALID;

COMMENT ON COLUMN message_logs.kind IS
'What happened: consume, refund, reserve, commit, release, expire, extend, set, reset, grant, transfer or rollover';
COMMENT ON COLUMN message_logs.charges IS
'Units used, by metric: {"messages": 1}; negative of a refund; {} of what uses nothing, such as a hold or an admin''s reset';
COMMENT ON COLUMN message_logs.deltas IS
'What was added to each counter: [[depth, metric, period, window start, window end, units], …]; depth 1 is the root of the path; windows in Unix seconds, end exclusive. A seventh value says what was counted when that is not use of a limit: held:UNTIL, carried, refunded, grant:ID, grant:ID:held:UNTIL';
COMMENT ON COLUMN message_logs.amount IS
'What was asked: the amount of a consume, reserve, commit or grant; null of other kinds and before version 15 of the schema';
COMMENT ON COLUMN message_logs.until IS 'Until when a reserve or an extend holds, or a grant is good; null of other kinds';
COMMENT ON COLUMN message_logs.settles IS
'The event that this one settles: the reserve of a commit, release, expire or extend; what a refund gives back; the transfer of a grant';
COMMENT ON COLUMN message_logs.late IS 'Of a commit: whether its hold had ended before it; null of other kinds';
COMMENT ON COLUMN message_logs.overage IS 'Of a commit: whether it passed a hard limit; null of other kinds';

-- Months to come are made like the table; those that are there are told, too.
DO $$
DECLARE
    told record;
BEGIN
    FOR told IN
        SELECT inhrelid::regclass AS month, attname, col_description(inhparent, attnum) AS comment
        FROM pg_inherits
        JOIN pg_attribute ON attrelid = inhparent
        WHERE inhparent = 'message_logs'::regclass
            AND attname IN ('kind', 'charges', 'deltas', 'amount', 'until', 'settles', 'late', 'overage')
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', told.month, told.attname, told.comment);
    END LOOP;
END
$$;
