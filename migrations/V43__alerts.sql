-- Purpose  Rules about what happens (alert_rules), when each last fired for a subject (alert_states), and what was found (alerts).
-- Phase    expand
-- Locks    none on existing tables
-- Size     a row for each alert, and for each rule and subject that it fired for
-- Undo     DROP TABLE alerts, alert_states, alert_rules;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE alert_rules (
    name text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    threshold bigint NOT NULL,
    window_s bigint NOT NULL,
    cooldown_s bigint NOT NULL,
    subject text COLLATE "C",
    enabled boolean NOT NULL,
    next_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT alert_rules_pkey PRIMARY KEY (name),
    CONSTRAINT alert_rules_kind_known
    CHECK (kind IN ('denial_rate', 'concurrent', 'bypass', 'spike', 'near_limit'))
);

COMMENT ON TABLE alert_rules IS 'Rules about what happens';
COMMENT ON COLUMN alert_rules.name IS 'The rule''s name';
COMMENT ON COLUMN alert_rules.kind IS 'What is looked for';
COMMENT ON COLUMN alert_rules.threshold IS 'From which value it fires: refusals, requests at once, reports, times the average, levels';
COMMENT ON COLUMN alert_rules.window_s IS 'How far back is looked, in seconds';
COMMENT ON COLUMN alert_rules.cooldown_s IS 'How long it stays silent about a subject that it fired for, in seconds';
COMMENT ON COLUMN alert_rules.subject IS 'Only about this subject or below it; null is all';
COMMENT ON COLUMN alert_rules.enabled IS 'Whether it is looked at';
COMMENT ON COLUMN alert_rules.next_at IS 'When it is looked at next';

CREATE TABLE alert_states (
    rule text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    fired_at timestamptz NOT NULL,
    CONSTRAINT alert_states_pkey PRIMARY KEY (rule, subject),
    CONSTRAINT alert_states_rule_fk FOREIGN KEY (rule) REFERENCES alert_rules (name) ON DELETE CASCADE
);

COMMENT ON TABLE alert_states IS 'When each rule last fired for a subject';
COMMENT ON COLUMN alert_states.rule IS 'The rule';
COMMENT ON COLUMN alert_states.subject IS 'For whom';
COMMENT ON COLUMN alert_states.fired_at IS 'When';

CREATE TABLE alerts (
    alert_id uuid NOT NULL,
    rule text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    subject text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    threshold bigint NOT NULL,
    fired_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT alerts_pkey PRIMARY KEY (alert_id)
);

CREATE INDEX alerts_fired_at_idx ON alerts (fired_at DESC);

COMMENT ON TABLE alerts IS 'What rules found';
COMMENT ON COLUMN alerts.alert_id IS 'The alert''s id, a UUIDv7';
COMMENT ON COLUMN alerts.rule IS 'The rule';
COMMENT ON COLUMN alerts.kind IS 'What the rule looks for';
COMMENT ON COLUMN alerts.subject IS 'About whom';
COMMENT ON COLUMN alerts.value IS 'What was found';
COMMENT ON COLUMN alerts.threshold IS 'From which value the rule fired';
COMMENT ON COLUMN alerts.fired_at IS 'When';

INSERT INTO alert_rules (name, kind, threshold, window_s, cooldown_s, enabled) VALUES
('high_denial_rate', 'denial_rate', 5, 60, 600, TRUE),
('concurrent_attempts', 'concurrent', 10, 60, 600, TRUE),
('bypass', 'bypass', 20, 3600, 3600, TRUE),
('usage_spike', 'spike', 5, 86400, 86400, TRUE),
('near_limit', 'near_limit', 1, 3600, 86400, FALSE);

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON alert_rules, alert_states TO headroom_app;
        GRANT SELECT, INSERT ON alerts TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON alert_rules, alert_states, alerts TO headroom_analyst;
    END IF;
END
$$;
