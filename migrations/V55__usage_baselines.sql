-- Purpose  What subjects used in the seven days before, which rules that look for spikes compare with today every few seconds:
--          it is summed up once an hour (usage_baseline_state says when), and not at every look.
-- Phase    expand
-- Locks    none on existing tables
-- Size     a row for each root subject and metric of the last seven days
-- Undo     DROP TABLE usage_baselines, usage_baseline_state;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE usage_baselines (
    subject text COLLATE "C" NOT NULL,
    metric text COLLATE "C" NOT NULL,
    units bigint NOT NULL,
    CONSTRAINT usage_baselines_pkey PRIMARY KEY (subject, metric)
) WITH (fillfactor = 80);

COMMENT ON TABLE usage_baselines IS 'Usage of the seven days before usage_baseline_state.day, where there was any';
COMMENT ON COLUMN usage_baselines.subject IS 'Root of the paths that were charged';
COMMENT ON COLUMN usage_baselines.metric IS 'What is counted';
COMMENT ON COLUMN usage_baselines.units IS 'Units charged in the seven days, less those refunded';

CREATE TABLE usage_baseline_state (
    id boolean NOT NULL DEFAULT TRUE,
    day date NOT NULL,
    computed_at timestamptz NOT NULL,
    CONSTRAINT usage_baseline_state_pkey PRIMARY KEY (id),
    CONSTRAINT usage_baseline_state_one_row CHECK (id)
);

COMMENT ON TABLE usage_baseline_state IS 'One row: locked by whoever sums up usage_baselines';
COMMENT ON COLUMN usage_baseline_state.id IS 'Always true';
COMMENT ON COLUMN usage_baseline_state.day IS 'The day (UTC) whose seven days before were summed up';
COMMENT ON COLUMN usage_baseline_state.computed_at IS 'When they were';

INSERT INTO usage_baseline_state (day, computed_at) VALUES ('1970-01-01', '1970-01-01Z');

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON usage_baselines TO headroom_app;
        GRANT SELECT, UPDATE ON usage_baseline_state TO headroom_app;
    END IF;
END
$$;
