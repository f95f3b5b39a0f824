-- Purpose  Which counters came near to their limit or reached it: a row for each window and level, so that each is told once.
--          Of days and longer; counters of minutes and hours live in Redis alone (docs/adr/0011).
-- Phase    expand
-- Locks    none on existing tables
-- Size     at most three rows for each window of a subject that comes near to a limit
-- Undo     DROP TABLE crossings;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE crossings (
    subject text COLLATE "C" NOT NULL,
    metric text COLLATE "C" NOT NULL,
    period text NOT NULL,
    window_start timestamptz NOT NULL,
    level text NOT NULL,
    window_end timestamptz NOT NULL,
    used bigint NOT NULL,
    max bigint NOT NULL,
    crossed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT crossings_pkey PRIMARY KEY (subject, metric, period, window_start, level),
    CONSTRAINT crossings_level_known CHECK (level IN ('warning', 'critical', 'limit'))
);

CREATE INDEX crossings_crossed_at_idx ON crossings (crossed_at);

COMMENT ON TABLE crossings IS 'Counters that came near to their limit or reached it; once for each window and level';
COMMENT ON COLUMN crossings.subject IS 'The level of a subject that the limit belongs to';
COMMENT ON COLUMN crossings.metric IS 'What is counted';
COMMENT ON COLUMN crossings.period IS 'How often the limit starts anew';
COMMENT ON COLUMN crossings.window_start IS 'First instant of the window';
COMMENT ON COLUMN crossings.level IS 'What was reached: the limit''s warning or critical share, or the limit';
COMMENT ON COLUMN crossings.window_end IS 'First instant after the window';
COMMENT ON COLUMN crossings.used IS 'Units used when it was noticed';
COMMENT ON COLUMN crossings.max IS 'The limit at the time, with the units that were carried into the window';
COMMENT ON COLUMN crossings.crossed_at IS 'When the event that crossed came into the log';

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT ON crossings TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON crossings TO headroom_analyst;
    END IF;
END
$$;
