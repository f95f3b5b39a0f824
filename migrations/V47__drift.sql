-- Purpose  What the drift auditor found (drift_findings) and how far it has come (drift_state): subjects whose counters in Redis
--          are not those of Postgres plus the outbox (docs/adr/0023). The audit log takes repairs of them, and NOT VALID as in
--          V22, for the same reason.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on audit_log, for an instant
-- Size     a row for each subject that differs, 10,000 at most
-- Undo     DROP TABLE drift_findings, drift_state; the check of V44 again, once no row has subject.repair
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE drift_findings (
    subject text COLLATE "C" NOT NULL,
    shard bigint NOT NULL,
    units bigint NOT NULL,
    counters jsonb NOT NULL,
    suspected_at timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT drift_findings_pkey PRIMARY KEY (subject)
);

CREATE INDEX drift_findings_seen_at_idx ON drift_findings (seen_at);

COMMENT ON TABLE drift_findings IS 'Subjects whose counters in Redis differ from Postgres and the outbox';
COMMENT ON COLUMN drift_findings.subject IS 'The level of a subject';
COMMENT ON COLUMN drift_findings.shard IS 'Its shard';
COMMENT ON COLUMN drift_findings.units IS 'By how many units its counters differ, in all';
COMMENT ON COLUMN drift_findings.counters IS 'The counters: [{metric, period, starts_at, grant, count, redis, postgres}, …]';
COMMENT ON COLUMN drift_findings.suspected_at IS 'When it was seen first';
COMMENT ON COLUMN drift_findings.confirmed_at IS 'When it was seen for the second time in a row; null until then, and then it does not count';
COMMENT ON COLUMN drift_findings.seen_at IS 'When it was last seen';

CREATE TABLE drift_state (
    id boolean NOT NULL DEFAULT TRUE,
    next_at timestamptz NOT NULL DEFAULT now(),
    shard bigint NOT NULL DEFAULT 0,
    scan_cursor text NOT NULL DEFAULT '0',
    started_at timestamptz NOT NULL DEFAULT now(),
    compared bigint NOT NULL DEFAULT 0,
    left_out bigint NOT NULL DEFAULT 0,
    last_started_at timestamptz,
    last_ended_at timestamptz,
    last_compared bigint,
    last_left_out bigint,
    CONSTRAINT drift_state_pkey PRIMARY KEY (id),
    CONSTRAINT drift_state_one_row CHECK (id)
);

COMMENT ON TABLE drift_state IS 'One row: how far the drift auditor has come';
COMMENT ON COLUMN drift_state.id IS 'Always true';
COMMENT ON COLUMN drift_state.next_at IS 'When a node may take the next step';
COMMENT ON COLUMN drift_state.shard IS 'The shard that the next step looks at';
COMMENT ON COLUMN drift_state.scan_cursor IS 'Where it goes on there, a cursor of Redis'' SCAN';
COMMENT ON COLUMN drift_state.started_at IS 'When the round under way began';
COMMENT ON COLUMN drift_state.compared IS 'Subjects compared in it so far';
COMMENT ON COLUMN drift_state.left_out IS 'Subjects that could not be compared, because their shard was too far ahead of Postgres';
COMMENT ON COLUMN drift_state.last_started_at IS 'When the last whole round began; null before there was one';
COMMENT ON COLUMN drift_state.last_ended_at IS 'When it ended';
COMMENT ON COLUMN drift_state.last_compared IS 'Subjects compared in it';
COMMENT ON COLUMN drift_state.last_left_out IS 'Subjects that could not be compared in it';

INSERT INTO drift_state DEFAULT VALUES;

ALTER TABLE audit_log
DROP CONSTRAINT audit_log_action_known,
ADD CONSTRAINT audit_log_action_known CHECK (action IN (
    'subject.put', 'subject.delete', 'usage.reset', 'usage.set', 'usage.decrement', 'grant.create', 'grant.revoke',
    'catalogue.replace', 'plan.put', 'model.put', 'key.create', 'key.revoke',
    'webhook.create', 'webhook.put', 'webhook.delete', 'webhook.replay', 'rule.put', 'rule.delete',
    'restraint.put', 'restraint.end', 'subject.repair'
)) NOT VALID;

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON drift_findings TO headroom_app;
        GRANT SELECT, UPDATE ON drift_state TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON drift_findings, drift_state TO headroom_analyst;
    END IF;
END
$$;
