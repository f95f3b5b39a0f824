-- Purpose  Says which events have left the log on purpose, so that a recovery which finds them in an outbox does not log and count
--          them once more: those of erased people, and, by archives, months that were archived. Keeps of grants what such
--          events used, as archived_sums does of counters, so that grants still agree with the log.
-- Phase    expand
-- Locks    none on tables that are there
-- Size     40 bytes an erased event, for 90 days; 24 bytes a grant of which archived or erased events used some. Where months have
--          been archived the log is read once (about 5 s a million events)
-- Undo     DROP TABLE erased_events, archived_grants; drop_message_log_partition as in V34
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '1h';

CREATE TABLE erased_events (
    event_id uuid NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT erased_events_pkey PRIMARY KEY (event_id)
);

COMMENT ON TABLE erased_events IS 'Events that headroom erase-person took out of message_logs in the last 90 days';
COMMENT ON COLUMN erased_events.event_id IS 'The event''s id, which names nobody';
COMMENT ON COLUMN erased_events.erased_at IS 'When it was erased';

CREATE TABLE archived_grants (
    grant_id bigint NOT NULL,
    used bigint NOT NULL,
    CONSTRAINT archived_grants_pkey PRIMARY KEY (grant_id)
);

COMMENT ON TABLE archived_grants IS 'What events that left message_logs used of each grant';
COMMENT ON COLUMN archived_grants.grant_id IS 'The grant';
COMMENT ON COLUMN archived_grants.used IS 'Units used';

-- What months that were archived before this table was there had used: what the log is short of.
INSERT INTO archived_grants (grant_id, used)
SELECT given.id, given.used - coalesce(logged.used, 0)
FROM grants AS given
LEFT JOIN (
    SELECT
        substring(delta ->> 6 FROM '^grant:([0-9]+)$')::bigint AS id,
        sum((delta ->> 5)::bigint)::bigint AS used
    FROM message_logs AS log CROSS JOIN LATERAL jsonb_array_elements(log.deltas) AS delta
    WHERE delta ->> 6 ~ '^grant:[0-9]+$' AND EXISTS (SELECT FROM archives)
    GROUP BY 1
) AS logged ON logged.id = given.id
WHERE given.used <> coalesce(logged.used, 0) AND EXISTS (SELECT FROM archives);

CREATE OR REPLACE FUNCTION drop_message_log_partition(of_month date, archived_rows bigint, archived_to text, archived_sha256 bytea)
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
    EXECUTE format(
        'INSERT INTO public.archived_grants AS kept (grant_id, used)'
        ' SELECT substring(delta ->> 6 FROM ''^grant:([0-9]+)$'')::bigint, sum((delta ->> 5)::bigint)::bigint'
        ' FROM public.%I AS log CROSS JOIN LATERAL jsonb_array_elements(log.deltas) AS delta'
        ' WHERE delta ->> 6 ~ ''^grant:[0-9]+$'' GROUP BY 1'
        ' ON CONFLICT (grant_id) DO UPDATE SET used = kept.used + excluded.used',
        partition_name);
    INSERT INTO public.archives (month, location, events, sha256)
    VALUES (of_month, archived_to, found_rows, archived_sha256);
    EXECUTE format('ALTER TABLE public.message_logs DETACH PARTITION public.%I', partition_name);
    EXECUTE format('DROP TABLE public.%I', partition_name);
    RETURN found_rows;
END
$$;

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT ON erased_events, archived_grants TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON archived_grants TO headroom_analyst;
    END IF;
END
$$;
