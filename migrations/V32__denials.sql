-- Purpose  Requests that were refused, beside the log of those that were accepted: denials (one row each, up to 10 for each subject
--          and minute), denial_minutes (how many, for each subject and minute, complete) and denial_hours (totals).
--          Nodes write them within a second and best effort: what waits in a node that is killed, or does not find room while
--          Postgres is away, is not here. No decision depends on them.
-- Phase    expand
-- Locks    none on existing tables
-- Size     at most 10 rows and one count for each subject that is refused in a minute
-- Undo     DROP TABLE denials, denial_minutes, denial_hours;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE denials (
    denial_id uuid NOT NULL,
    denied_at timestamptz NOT NULL,
    subject text COLLATE "C" NOT NULL,
    code text NOT NULL,
    limit_name text,
    level text COLLATE "C",
    metric text COLLATE "C",
    model text COLLATE "C",
    amount bigint NOT NULL,
    plan text NOT NULL,
    request_id text,
    trace_id text,
    CONSTRAINT denials_pkey PRIMARY KEY (denial_id),
    CONSTRAINT denials_code_known CHECK (
        code IN ('limit_exceeded', 'subject_blocked', 'feature_not_entitled', 'model_not_allowed', 'no_plan')
    )
);

CREATE INDEX denials_subject_denied_at_idx ON denials (subject, denied_at DESC);
CREATE INDEX denials_denied_at_idx ON denials (denied_at DESC);

COMMENT ON TABLE denials IS 'Refused consumes, best effort; at most 10 rows for each subject and minute, denial_minutes has all';
COMMENT ON COLUMN denials.denial_id IS 'The row''s id, a UUIDv7';
COMMENT ON COLUMN denials.denied_at IS 'When the request was refused; milliseconds';
COMMENT ON COLUMN denials.subject IS 'The whole path that would have been charged';
COMMENT ON COLUMN denials.code IS 'Why: the code of the answer';
COMMENT ON COLUMN denials.limit_name IS 'The first limit that left no room; null when it was no limit';
COMMENT ON COLUMN denials.level IS 'The level of the subject that the limit belongs to';
COMMENT ON COLUMN denials.metric IS 'What the limit counts, or the metric that was named';
COMMENT ON COLUMN denials.model IS 'The chat model that was asked for; null when a metric was named';
COMMENT ON COLUMN denials.amount IS 'How much was asked for, before weights';
COMMENT ON COLUMN denials.plan IS 'The plan whose limits were in force; empty when that is not known';
COMMENT ON COLUMN denials.request_id IS 'The request''s id';
COMMENT ON COLUMN denials.trace_id IS 'W3C trace id, 32 hexadecimal digits';

CREATE TABLE denial_minutes (
    minute timestamptz NOT NULL,
    subject text COLLATE "C" NOT NULL,
    denials bigint NOT NULL,
    CONSTRAINT denial_minutes_pkey PRIMARY KEY (minute, subject)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

COMMENT ON TABLE denial_minutes IS 'How often each subject was refused in a minute, best effort';
COMMENT ON COLUMN denial_minutes.minute IS 'First instant of the minute';
COMMENT ON COLUMN denial_minutes.subject IS 'The whole path that would have been charged';
COMMENT ON COLUMN denial_minutes.denials IS 'Refused consumes, also those without a row in denials';

CREATE TABLE denial_hours (
    hour timestamptz NOT NULL,
    code text NOT NULL,
    metric text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    denials bigint NOT NULL,
    CONSTRAINT denial_hours_pkey PRIMARY KEY (hour, code, metric, model)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE denial_hours IS 'How often requests were refused in an hour, best effort';
COMMENT ON COLUMN denial_hours.hour IS 'First instant of the hour, UTC';
COMMENT ON COLUMN denial_hours.code IS 'Why: the code of the answer';
COMMENT ON COLUMN denial_hours.metric IS 'What the limit counts, or the metric that was named; empty when there is none';
COMMENT ON COLUMN denial_hours.model IS 'The chat model that was asked for; empty when a metric was named';
COMMENT ON COLUMN denial_hours.denials IS 'Refused consumes';

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT ON denials TO headroom_app;
        GRANT SELECT, INSERT, UPDATE ON denial_minutes, denial_hours TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON denials, denial_minutes, denial_hours TO headroom_analyst;
    END IF;
END
$$;
