-- Purpose  What analysts sum up, so that an answer costs what it sums and not what is logged: usage_hours (totals), usage_days
--          (each root subject, metric and model), subject_months (each root subject and metric), active_days (how many
--          subjects were active).
--          Of a path the root stands for all of it. Consumes and commits count as events and add their units; refunds take units
--          off. A subject is active on a day on which an event of it charged the metric.
--          The transaction that logs events adds their totals, a shard each, so that flushes of different shards do not wait
--          for each other, and puts the sums of each subject into rollup_queue as one row. Nodes fold that queue into the
--          other tables every five seconds: the subjects that write most change their rows once a fold, not once a flush.
--          What is in the log already is summed up here, in UTC.
-- Phase    backfill
-- Locks    none that stops anybody: the log is read
-- Size     a row for each subject, metric and model a day, for each subject and metric a month; about 10 s a million events
-- Undo     DROP TABLE usage_hours, usage_days, subject_months, active_days, rollup_queue;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '2h';

CREATE TABLE usage_hours (
    hour timestamptz NOT NULL,
    shard bigint NOT NULL,
    metric text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    units bigint NOT NULL,
    CONSTRAINT usage_hours_pkey PRIMARY KEY (hour, shard, metric, model)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE usage_hours IS 'Usage of all subjects by the hour, metric and model; add up the shards';
COMMENT ON COLUMN usage_hours.hour IS 'First instant of the hour, UTC';
COMMENT ON COLUMN usage_hours.shard IS 'Shard, from 0';
COMMENT ON COLUMN usage_hours.metric IS 'What is counted';
COMMENT ON COLUMN usage_hours.model IS 'The chat model; empty when a metric was named';
COMMENT ON COLUMN usage_hours.events IS 'Events that charged the metric';
COMMENT ON COLUMN usage_hours.units IS 'Units charged, less those refunded in the hour';

CREATE TABLE usage_days (
    day date NOT NULL,
    subject text COLLATE "C" NOT NULL,
    metric text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    units bigint NOT NULL,
    CONSTRAINT usage_days_pkey PRIMARY KEY (day, subject, metric, model)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE usage_days IS 'Usage by the day, root subject, metric and model';
COMMENT ON COLUMN usage_days.day IS 'Day in UTC';
COMMENT ON COLUMN usage_days.subject IS 'Root of the paths that were charged';
COMMENT ON COLUMN usage_days.metric IS 'What is counted';
COMMENT ON COLUMN usage_days.model IS 'The chat model; empty when a metric was named';
COMMENT ON COLUMN usage_days.events IS 'Events that charged the metric';
COMMENT ON COLUMN usage_days.units IS 'Units charged, less those refunded on the day';

CREATE TABLE subject_months (
    month date NOT NULL,
    subject text COLLATE "C" NOT NULL,
    metric text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    units bigint NOT NULL,
    days bigint NOT NULL,
    new_days bigint NOT NULL,
    CONSTRAINT subject_months_pkey PRIMARY KEY (month, metric, subject),
    CONSTRAINT subject_months_month_start CHECK (extract(DAY FROM month) = 1)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE subject_months IS 'Usage by the month, root subject and metric';
COMMENT ON COLUMN subject_months.month IS 'First day of the month in UTC';
COMMENT ON COLUMN subject_months.subject IS 'Root of the paths that were charged';
COMMENT ON COLUMN subject_months.metric IS 'What is counted';
COMMENT ON COLUMN subject_months.events IS 'Events that charged the metric';
COMMENT ON COLUMN subject_months.units IS 'Units charged, less those refunded in the month';
COMMENT ON COLUMN subject_months.days IS 'Days on which the subject was active: bit 0 is the first of the month';
COMMENT ON COLUMN subject_months.new_days IS 'Those of the days that the last fold added, which counts them in active_days';

CREATE TABLE active_days (
    day date NOT NULL,
    metric text COLLATE "C" NOT NULL,
    subjects bigint NOT NULL,
    CONSTRAINT active_days_pkey PRIMARY KEY (day, metric)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE active_days IS 'How many root subjects were active on a day';
COMMENT ON COLUMN active_days.day IS 'Day in UTC';
COMMENT ON COLUMN active_days.metric IS 'What was charged';
COMMENT ON COLUMN active_days.subjects IS 'Root subjects with an event that charged the metric';

-- Its rows are few and short-lived, and their lists long.
CREATE TABLE rollup_queue (
    id bigint GENERATED ALWAYS AS IDENTITY,
    days date [] NOT NULL,
    subjects text [] NOT NULL,
    metrics text [] NOT NULL,
    models text [] NOT NULL,
    events bigint [] NOT NULL,
    units bigint [] NOT NULL,
    CONSTRAINT rollup_queue_pkey PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

COMMENT ON TABLE rollup_queue IS 'Sums of flushed events that are not yet in usage_days, subject_months and active_days; a row a flush';
COMMENT ON COLUMN rollup_queue.id IS 'The row''s id';
COMMENT ON COLUMN rollup_queue.days IS 'Day in UTC of each sum';
COMMENT ON COLUMN rollup_queue.subjects IS 'Root subject of each sum';
COMMENT ON COLUMN rollup_queue.metrics IS 'Metric of each sum';
COMMENT ON COLUMN rollup_queue.models IS 'Model of each sum; empty when a metric was named';
COMMENT ON COLUMN rollup_queue.events IS 'Events of each sum';
COMMENT ON COLUMN rollup_queue.units IS 'Units of each sum';

CREATE TEMPORARY TABLE logged ON COMMIT DROP AS
SELECT
    date_trunc('hour', log.occurred_at, 'UTC') AS hour,
    (log.occurred_at AT TIME ZONE 'UTC')::date AS day,
    date_trunc('month', log.occurred_at AT TIME ZONE 'UTC')::date AS month,
    log.shard,
    split_part(log.subject, '/', 1) COLLATE "C" AS subject,
    charge.key COLLATE "C" AS metric,
    coalesce(log.model, '') COLLATE "C" AS model,
    charge.value::bigint AS units
FROM message_logs AS log
CROSS JOIN LATERAL jsonb_each_text(log.charges) AS charge
WHERE log.kind = 'consume';

INSERT INTO usage_hours (hour, shard, metric, model, events, units)
SELECT hour, shard, metric, model, count(*), sum(units) FROM logged GROUP BY 1, 2, 3, 4;

INSERT INTO usage_days (day, subject, metric, model, events, units)
SELECT day, subject, metric, model, count(*), sum(units) FROM logged GROUP BY 1, 2, 3, 4;

INSERT INTO subject_months (month, subject, metric, events, units, days, new_days)
SELECT
    month, subject, metric, count(*), sum(units),
    bit_or(1::bigint << (extract(DAY FROM day)::integer - 1)), 0
FROM logged GROUP BY 1, 2, 3;

INSERT INTO active_days (day, metric, subjects)
SELECT day, metric, count(DISTINCT subject) FROM logged GROUP BY 1, 2;

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE ON usage_hours, usage_days, subject_months, active_days TO headroom_app;
        GRANT SELECT, INSERT, DELETE ON rollup_queue TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON usage_hours, usage_days, subject_months, active_days TO headroom_analyst;
    END IF;
END
$$;
