-- Purpose  Months of the log that are kept elsewhere (archives), and what their events added up to (archived_sums), so that each
--          counter still is the sum of what was logged. A month leaves the log by drop_message_log_partition alone: it stops
--          writes into the month, compares the number of its rows with that of the archive, keeps their sums, and drops it, all
--          or nothing. drop_old_facts is what nodes may do: months that the operator chose to drop without an archive, and
--          old refusals.
-- Phase    expand
-- Locks    none on existing tables; the functions take SHARE on a month and, for an instant, ACCESS EXCLUSIVE on message_logs
-- Size     one row a month; one row a counter of an archived month
-- Undo     DROP FUNCTION drop_old_facts, drop_message_log_partition; DROP TABLE archives, archived_sums;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE archives (
    month date NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now(),
    location text,
    events bigint NOT NULL,
    sha256 bytea,
    CONSTRAINT archives_pkey PRIMARY KEY (month, archived_at),
    CONSTRAINT archives_month_start CHECK (extract(DAY FROM month) = 1)
);

COMMENT ON TABLE archives IS 'Months that left message_logs';
COMMENT ON COLUMN archives.month IS 'First day of the month in UTC';
COMMENT ON COLUMN archives.archived_at IS 'When the month was dropped';
COMMENT ON COLUMN archives.location IS 'The Parquet file that holds its rows; null when they were dropped unarchived';
COMMENT ON COLUMN archives.events IS 'Rows of the month';
COMMENT ON COLUMN archives.sha256 IS 'SHA-256 over the rows in the order of their ids, as headroom archive makes it';

CREATE TABLE archived_sums (
    subject text COLLATE "C" NOT NULL,
    metric text NOT NULL,
    period text NOT NULL,
    window_start timestamptz NOT NULL,
    used bigint NOT NULL,
    carried bigint NOT NULL,
    refunded bigint NOT NULL,
    CONSTRAINT archived_sums_pkey PRIMARY KEY (subject, metric, period, window_start)
);

COMMENT ON TABLE archived_sums IS 'What events that left message_logs added to each counter';
COMMENT ON COLUMN archived_sums.subject IS 'The level of a subject that was charged';
COMMENT ON COLUMN archived_sums.metric IS 'What was counted';
COMMENT ON COLUMN archived_sums.period IS 'How often the limit starts anew';
COMMENT ON COLUMN archived_sums.window_start IS 'First instant of the window';
COMMENT ON COLUMN archived_sums.used IS 'Units added in the window';
COMMENT ON COLUMN archived_sums.carried IS 'Units carried into the window';
COMMENT ON COLUMN archived_sums.refunded IS 'Units given back in the window';

-- Answers the rows that were dropped, or null, and drops nothing, when there are not as many as the archive has.
CREATE FUNCTION drop_message_log_partition(of_month date, archived_rows bigint, archived_to text, archived_sha256 bytea)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    partition_name text := 'message_logs_' || to_char(of_month, 'YYYY_MM');
    found_rows bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('headroom.message_log_partitions', 0));
    EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', partition_name);
    EXECUTE format('SELECT count(*) FROM public.%I', partition_name) INTO found_rows;
    IF found_rows <> coalesce(archived_rows, found_rows) THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'INSERT INTO public.archived_sums AS kept (subject, metric, period, window_start, used, carried, refunded)'
        ' SELECT array_to_string((string_to_array(log.subject, ''/''))[1:greatest((delta ->> 0)::integer, 1)], ''/''),'
        ' delta ->> 1, delta ->> 2, to_timestamp((delta ->> 3)::bigint),'
        ' coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 IS NULL), 0)::bigint,'
        ' coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 = ''carried''), 0)::bigint,'
        ' coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 = ''refunded''), 0)::bigint'
        ' FROM public.%I AS log CROSS JOIN LATERAL jsonb_array_elements(log.deltas) AS delta'
        ' WHERE delta ->> 2 NOT IN (''minute'', ''hour'')'
        ' AND (delta ->> 6 IS NULL OR delta ->> 6 IN (''carried'', ''refunded'')) GROUP BY 1, 2, 3, 4'
        ' ON CONFLICT (subject, metric, period, window_start) DO UPDATE SET used = kept.used + excluded.used,'
        ' carried = kept.carried + excluded.carried, refunded = kept.refunded + excluded.refunded',
        partition_name);
    INSERT INTO public.archives (month, location, events, sha256)
    VALUES (of_month, archived_to, found_rows, archived_sha256);
    EXECUTE format('ALTER TABLE public.message_logs DETACH PARTITION public.%I', partition_name);
    EXECUTE format('DROP TABLE public.%I', partition_name);
    RETURN found_rows;
END
$$;

COMMENT ON FUNCTION drop_message_log_partition (date, bigint, text, bytea) IS
'Drops a month of the log when it has as many rows as its archive, and keeps their sums; null when it has not';

REVOKE EXECUTE ON FUNCTION drop_message_log_partition (date, bigint, text, bytea) FROM PUBLIC;

-- Drops refusals older than so many whole months and, when that is asked for, months of the log without an archive, one a
-- call. Answers how many rows of the log were dropped.
CREATE FUNCTION drop_old_facts(months_kept integer, drop_unarchived boolean) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    kept_from date := date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => least(greatest(months_kept, 1), 1200));
    oldest date;
BEGIN
    DELETE FROM public.denials WHERE denial_id IN (
        SELECT denial_id FROM public.denials WHERE denied_at < kept_from::timestamp AT TIME ZONE 'UTC' LIMIT 50000);
    DELETE FROM public.denial_minutes WHERE (minute, subject) IN (
        SELECT minute, subject FROM public.denial_minutes WHERE minute < kept_from::timestamp AT TIME ZONE 'UTC' LIMIT 50000);
    IF NOT drop_unarchived THEN
        RETURN 0;
    END IF;
    SELECT min(to_date(substr(relname, 14), 'YYYY_MM')) INTO oldest
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'public.message_logs'::regclass AND relname ~ '^message_logs_\d{4}_\d{2}$'
        AND to_date(substr(relname, 14), 'YYYY_MM') < kept_from;
    IF oldest IS NULL THEN
        RETURN 0;
    END IF;
    RETURN public.drop_message_log_partition(oldest, NULL, NULL, NULL);
END
$$;

COMMENT ON FUNCTION drop_old_facts (integer, boolean) IS
'Drops refusals older than so many months and, when asked for, the oldest such month of the log; returns the rows of the log dropped';

REVOKE EXECUTE ON FUNCTION drop_old_facts (integer, boolean) FROM PUBLIC;

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION drop_old_facts(integer, boolean) TO headroom_app;
        GRANT SELECT ON archives, archived_sums TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON archives, archived_sums TO headroom_analyst;
    END IF;
END
$$;
