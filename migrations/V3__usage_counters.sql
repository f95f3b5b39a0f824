-- Purpose  What is used of each limit: one row a counter (usage_counters), always the sum of the deltas in message_logs.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row for each subject, metric and window that was charged
-- Undo     DROP TABLE usage_counters;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- No check that used >= 0: a wrong sum is for the checker to find, and must not stop the flusher.
-- A row is updated with every flush that touches its subject; no index holds a column that changes, so free space on
-- the page keeps the update in place (HOT), and frequent vacuums give the space back.
CREATE TABLE usage_counters (
    subject text NOT NULL,
    metric text NOT NULL,
    period text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    used bigint NOT NULL,
    reset_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_counters_pkey PRIMARY KEY (subject, metric, period, window_start),
    CONSTRAINT usage_counters_period_known
    CHECK (period IN ('minute', 'hour', 'day', 'week', 'month', 'lifetime')),
    CONSTRAINT usage_counters_window_order CHECK (window_start < window_end)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

-- A load wants a subject's open windows, and must not read through years of closed ones.
CREATE INDEX usage_counters_subject_window_end_idx ON usage_counters (subject, window_end);

COMMENT ON TABLE usage_counters IS 'What is used of each limit; one row a counter, the sum of the deltas in message_logs';
COMMENT ON COLUMN usage_counters.subject IS 'The level of a subject that is charged';
COMMENT ON COLUMN usage_counters.metric IS 'What is counted';
COMMENT ON COLUMN usage_counters.period IS 'How often the limit starts anew';
COMMENT ON COLUMN usage_counters.window_start IS 'First instant of the window';
COMMENT ON COLUMN usage_counters.window_end IS 'First instant after the window';
COMMENT ON COLUMN usage_counters.used IS 'Units used in the window';
COMMENT ON COLUMN usage_counters.reset_at IS 'When an admin last cleared the counter; null when never';
COMMENT ON COLUMN usage_counters.updated_at IS 'When the row last changed';
