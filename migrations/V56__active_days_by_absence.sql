-- Purpose  Has active_days say for how many days subjects were away, so that the distinct subjects of any days up to 92 are a sum
--          over a few rows a day, and not a look at each subject (docs/adr/0015). Counted anew from subject_months.
-- Phase    contract
-- Locks    nodes of before cannot fold until they are replaced: what they flush waits in rollup_queue, and nothing is lost.
--          ACCESS EXCLUSIVE on active_days, and folds wait; about 2 s a million subjects and months
-- Size     at most 93 rows a day and metric
-- Undo     sum active_days up by day and metric, make these the primary key, drop away; the two views as in V33
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '2h';

-- No fold meanwhile.
SELECT pg_advisory_xact_lock(hashtextextended('headroom.rollups', 0));

DELETE FROM active_days;

-- squawk-ignore adding-required-field, prefer-bigint-over-smallint
ALTER TABLE active_days ADD COLUMN away smallint NOT NULL;
ALTER TABLE active_days DROP CONSTRAINT active_days_pkey;
-- squawk-ignore constraint-missing-not-valid, adding-serial-primary-key-field
ALTER TABLE active_days ADD CONSTRAINT active_days_pkey PRIMARY KEY (day, metric, away);

COMMENT ON TABLE active_days IS 'How many root subjects were active on a day, by the days since they were active before';
COMMENT ON COLUMN active_days.away IS 'Days since the subject was active before; 93 when longer ago, or never';

INSERT INTO active_days (day, metric, away, subjects)
SELECT day, metric, least(coalesce(day - before, 93), 93), count(*)
FROM (
    SELECT
        month + bit AS day, metric,
        lag(month + bit) OVER (PARTITION BY metric, subject ORDER BY month, bit) AS before
    FROM subject_months
    CROSS JOIN generate_series(0, 30) AS bit
    WHERE days & (1::bigint << bit) <> 0
) AS active
GROUP BY 1, 2, 3;

CREATE OR REPLACE VIEW daily_usage AS
SELECT usage.day, usage.metric, usage.events, usage.units, coalesce(active.subjects, 0) AS active_subjects
FROM (
    SELECT (hour AT TIME ZONE 'UTC')::date AS day, metric, sum(events)::bigint AS events, sum(units)::bigint AS units
    FROM usage_hours GROUP BY 1, 2
) AS usage
LEFT JOIN (
    SELECT day, metric, sum(subjects)::bigint AS subjects FROM active_days GROUP BY 1, 2
) AS active USING (day, metric);

CREATE OR REPLACE VIEW active_users AS
SELECT 'day' AS period, day AS start, metric, sum(subjects)::bigint AS subjects FROM active_days GROUP BY day, metric
UNION ALL
SELECT 'month' AS period, date_trunc('month', day)::date AS start, metric, sum(subjects)::bigint AS subjects
FROM active_days WHERE away >= extract(DAY FROM day) GROUP BY 2, 3;
