-- Purpose  Views for analysts (docs/ANALYTICS.md), over the rollups, and an index that finds the counters whose windows are open.
-- Phase    expand
-- Locks    SHARE on usage_counters while the index is built (about 1 s a million rows): flushes wait and are tried again
-- Size     about 10 bytes a counter
-- Undo     DROP VIEW user_usage, daily_usage, active_users, model_usage, denials_realtime, usage_spikes, premium_adoption;
--          DROP INDEX usage_counters_window_end_idx;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX usage_counters_window_end_idx ON usage_counters (window_end);

CREATE VIEW user_usage AS
SELECT month, subject, metric, events, units, bit_count(days::bit(64)) AS active_days
FROM subject_months;

COMMENT ON VIEW user_usage IS 'What each root subject used in a month (UTC), and on how many days';

CREATE VIEW daily_usage AS
SELECT usage.day, usage.metric, usage.events, usage.units, coalesce(active.subjects, 0) AS active_subjects
FROM (
    SELECT (hour AT TIME ZONE 'UTC')::date AS day, metric, sum(events)::bigint AS events, sum(units)::bigint AS units
    FROM usage_hours GROUP BY 1, 2
) AS usage
LEFT JOIN active_days AS active USING (day, metric);

COMMENT ON VIEW daily_usage IS 'What all subjects used on a day (UTC), and how many of them did';

CREATE VIEW active_users AS
SELECT 'day' AS period, day AS start, metric, subjects FROM active_days
UNION ALL
SELECT 'month' AS period, month AS start, metric, count(*) AS subjects FROM subject_months WHERE days <> 0 GROUP BY month, metric;

COMMENT ON VIEW active_users IS 'How many root subjects used a metric on a day or in a month (UTC)';

CREATE VIEW model_usage AS
SELECT
    (hour AT TIME ZONE 'UTC')::date AS day, metric, model, sum(events)::bigint AS events, sum(units)::bigint AS units,
    round(sum(units) * 100 / nullif(sum(sum(units)) OVER (PARTITION BY (hour AT TIME ZONE 'UTC')::date, metric), 0), 1)
        AS share_percent
FROM usage_hours
GROUP BY 1, 2, 3;

COMMENT ON VIEW model_usage IS 'What each model charged on a day (UTC), and its share of the metric';

CREATE VIEW denials_realtime AS
SELECT minute, subject, denials FROM denial_minutes WHERE minute >= now() - interval '1 hour';

COMMENT ON VIEW denials_realtime IS 'How often each subject was refused in each minute of the last hour';

CREATE VIEW usage_spikes AS
SELECT today.day, today.subject, today.metric, today.units, before.average, round(today.units / before.average, 1) AS times
FROM (
    SELECT day, subject, metric, sum(units) AS units FROM usage_days
    WHERE day = (now() AT TIME ZONE 'UTC')::date GROUP BY 1, 2, 3
) AS today
JOIN (
    SELECT subject, metric, round(sum(units) / 7, 2) AS average FROM usage_days
    WHERE day >= (now() AT TIME ZONE 'UTC')::date - 7 AND day < (now() AT TIME ZONE 'UTC')::date
    GROUP BY 1, 2
) AS before USING (subject, metric)
WHERE before.average > 0 AND today.units >= 20 AND today.units >= 3 * before.average;

COMMENT ON VIEW usage_spikes IS
'Root subjects that used 20 units or more today (UTC) and three times the average of the seven days before';

CREATE VIEW premium_adoption AS
SELECT
    usage.day, usage.active_subjects, coalesce(premium.active_subjects, 0) AS premium_subjects,
    round(coalesce(premium.active_subjects, 0) * 100.0 / nullif(usage.active_subjects, 0), 1) AS adoption_percent,
    usage.units, coalesce(premium.units, 0) AS premium_units
FROM daily_usage AS usage
LEFT JOIN daily_usage AS premium ON premium.day = usage.day AND premium.metric = 'premium_messages'
WHERE usage.metric = 'messages';

COMMENT ON VIEW premium_adoption IS 'How many of the subjects that sent messages on a day (UTC) sent premium messages';

DO $$
BEGIN
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON
        user_usage, daily_usage, active_users, model_usage, denials_realtime, usage_spikes, premium_adoption
        TO headroom_analyst;
    END IF;
END
$$;
