-- Purpose  Records that follow from the log, or tell of it, go when they are older than retention.months: reservations that have ended,
--          levels that counters came to, and alerts. drop_old_records does it, so many rows of each at a call. retention_state
--          says from when reservations are kept: a commit of one from before is refused, since nobody remembers how it ended.
-- Phase    expand
-- Locks    SHARE on crossings while the index is built (about 1 s a million rows): flushes wait and are tried again, decisions
--          go on
-- Size     about 20 bytes a crossing
-- Undo     DROP FUNCTION drop_old_records; DROP TABLE retention_state; DROP INDEX crossings_window_end_idx;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX crossings_window_end_idx ON crossings (window_end);

CREATE TABLE retention_state (
    id boolean NOT NULL DEFAULT TRUE,
    reservations_from timestamptz NOT NULL,
    CONSTRAINT retention_state_pkey PRIMARY KEY (id),
    CONSTRAINT retention_state_one_row CHECK (id)
);

COMMENT ON TABLE retention_state IS 'One row: what is no longer kept';
COMMENT ON COLUMN retention_state.id IS 'Always true';
COMMENT ON COLUMN retention_state.reservations_from IS 'Reservations with an id from before have been dropped, once they had ended';

INSERT INTO retention_state (reservations_from) VALUES ('1970-01-01Z');

-- A crossing stays until its window is that old: by it nobody is told twice. Answers how many rows were dropped.
CREATE FUNCTION drop_old_records(months_kept integer, rows_max integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    kept_from timestamptz := greatest(
        (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => least(greatest(months_kept, 1), 1200)))
            AT TIME ZONE 'UTC',
        '1970-01-01Z');
    rows_each bigint := least(greatest(rows_max, 1), 50000);
    dropped bigint;
    dropped_of_all bigint := 0;
BEGIN
    UPDATE public.retention_state SET reservations_from = kept_from WHERE reservations_from < kept_from;
    DELETE FROM public.reservations WHERE id IN (
        SELECT id FROM public.reservations
        WHERE id < public.message_log_bound(kept_from) AND ended_at < kept_from
        ORDER BY id LIMIT rows_each FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS dropped = ROW_COUNT;
    dropped_of_all := dropped_of_all + dropped;
    DELETE FROM public.crossings WHERE (subject, metric, period, window_start, level) IN (
        SELECT subject, metric, period, window_start, level FROM public.crossings
        WHERE window_end < kept_from
        ORDER BY window_end LIMIT rows_each FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS dropped = ROW_COUNT;
    dropped_of_all := dropped_of_all + dropped;
    DELETE FROM public.alerts WHERE alert_id IN (
        SELECT alert_id FROM public.alerts
        WHERE fired_at < kept_from
        ORDER BY fired_at LIMIT rows_each FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN dropped_of_all + dropped;
END
$$;

COMMENT ON FUNCTION drop_old_records (integer, integer) IS
'Drops reservations that have ended, crossings and alerts older than so many months, at most so many of each; returns how many';

REVOKE EXECUTE ON FUNCTION drop_old_records (integer, integer) FROM PUBLIC;

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION drop_old_records(integer, integer) TO headroom_app;
        GRANT SELECT ON retention_state TO headroom_app;
    END IF;
END
$$;
