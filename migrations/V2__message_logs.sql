-- Purpose  The message log: every accepted event once (message_logs), in monthly partitions.
--          A unique key of a partitioned table must hold the partition key. Event ids are UUIDv7, whose first 48 bits
--          are Unix milliseconds, so a month of ids is a range of uuids. Partitioned by ranges of event_id, the table
--          is monthly and its primary key is still the event id alone: an operation is in the log at most once, in
--          whatever month a retry arrives. A month's bound is the 48 bits of its first instant (UTC), the rest zero.
--          Ids of a month that has no partition go to message_logs_default until ensure_message_log_partitions
--          makes the month and moves them.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row an event, about 400 bytes with its indexes
-- Undo     DROP TABLE message_logs; DROP FUNCTION ensure_message_log_partitions, message_log_bound;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE message_logs (
    event_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    shard bigint NOT NULL,
    subject text NOT NULL,
    kind text NOT NULL,
    model text,
    plan text NOT NULL,
    charges jsonb NOT NULL,
    deltas jsonb NOT NULL,
    request_id text,
    trace_id text,
    metadata jsonb,
    CONSTRAINT message_logs_pkey PRIMARY KEY (event_id),
    CONSTRAINT message_logs_kind_known CHECK (kind IN ('consume', 'reset'))
) PARTITION BY RANGE (event_id);

CREATE INDEX message_logs_subject_occurred_at_idx ON message_logs (subject, occurred_at DESC);
CREATE INDEX message_logs_occurred_at_brin ON message_logs USING brin (occurred_at);

COMMENT ON TABLE message_logs IS 'Every accepted event once; partitioned by month through the UUIDv7 event ids';
COMMENT ON COLUMN message_logs.event_id IS 'The operation''s id, a UUIDv7';
COMMENT ON COLUMN message_logs.occurred_at IS 'When Redis decided; milliseconds';
COMMENT ON COLUMN message_logs.epoch IS 'Epoch of the shard that the event was read from';
COMMENT ON COLUMN message_logs.seq IS 'Place of the event in the epoch, from 1';
COMMENT ON COLUMN message_logs.shard IS 'Shard of the subject''s root, from 0';
COMMENT ON COLUMN message_logs.subject IS 'The whole path that was charged';
COMMENT ON COLUMN message_logs.kind IS 'What happened: consume or reset';
COMMENT ON COLUMN message_logs.model IS 'The chat model that was asked for; null when a metric was named';
COMMENT ON COLUMN message_logs.plan IS 'The plan whose limits were in force';
COMMENT ON COLUMN message_logs.charges IS 'Units charged, by metric: {"messages": 1}; a reset charges nothing';
COMMENT ON COLUMN message_logs.deltas IS
'What was added to each counter: [[depth, metric, period, window start, window end, units], …]; depth 1 is the root of the path; windows in Unix seconds, end exclusive';
COMMENT ON COLUMN message_logs.request_id IS 'The request''s id; null when it is the event id';
COMMENT ON COLUMN message_logs.trace_id IS 'W3C trace id, 32 hexadecimal digits';
COMMENT ON COLUMN message_logs.metadata IS 'The caller''s own data';

CREATE TABLE message_logs_default PARTITION OF message_logs DEFAULT;

-- The smallest UUIDv7 of an instant.
CREATE FUNCTION message_log_bound(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN rpad(lpad(to_hex(floor(extract(EPOCH FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid;

COMMENT ON FUNCTION message_log_bound (timestamptz) IS 'The smallest UUIDv7 of an instant: its Unix milliseconds in 48 bits, then zeros';

-- Makes the partitions from last month to months_ahead months from now, and moves rows of those months out of the
-- default partition. Runs with its owner's rights, since a node may not create tables; any number of nodes may call it.
--
-- A month is made as a table of its own and then attached: that needs no lock that stops reads or writes of the log,
-- but for the default partition, which is scanned under an exclusive lock and is normally empty.
CREATE FUNCTION ensure_message_log_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month_start timestamp;
    lower_bound uuid;
    upper_bound uuid;
    partition_name text;
    moved bigint;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('headroom.message_log_partitions', 0));
    FOR offset_months IN -1 .. least(greatest(months_ahead, 0), 24) LOOP
        month_start := this_month + make_interval(months => offset_months);
        partition_name := 'message_logs_' || to_char(month_start, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || partition_name) IS NOT NULL;
        lower_bound := public.message_log_bound(month_start AT TIME ZONE 'UTC');
        upper_bound := public.message_log_bound((month_start + make_interval(months => 1)) AT TIME ZONE 'UTC');
        -- In this order a waiting writer never holds what is asked for next.
        LOCK TABLE ONLY public.message_logs IN SHARE UPDATE EXCLUSIVE MODE;
        LOCK TABLE public.message_logs_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format(
            'CREATE TABLE public.%I (LIKE public.message_logs INCLUDING ALL)', partition_name);
        EXECUTE format(
            'WITH gone AS (DELETE FROM public.message_logs_default WHERE event_id >= $1 AND event_id < $2 RETURNING *)'
            ' INSERT INTO public.%I SELECT * FROM gone', partition_name)
            USING lower_bound, upper_bound;
        GET DIAGNOSTICS moved = ROW_COUNT;
        EXECUTE format(
            'ALTER TABLE public.message_logs ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            partition_name, lower_bound, upper_bound);
        IF moved > 0 THEN
            RAISE NOTICE 'moved % rows from message_logs_default to %', moved, partition_name;
        END IF;
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

COMMENT ON FUNCTION ensure_message_log_partitions (integer) IS
'Makes the monthly partitions from last month to so many months (0 to 24) from now; returns how many were made';

REVOKE EXECUTE ON FUNCTION ensure_message_log_partitions (integer) FROM PUBLIC;

SELECT ensure_message_log_partitions(3);
