-- Purpose  What rules put on subjects for a while (restraints), what a rule does and whom it tells (alert_rules.action, .channels), and
--          what is in force beside a profile (subjects.restraints), as its grants are. E-mail as a format of webhooks. The audit
--          log takes the acts on webhooks, rules and restraints. The checks are NOT VALID here and validated by the next
--          migration: the old ones held for every row and allowed less.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on subjects, alert_rules, webhooks and audit_log, for an instant
-- Size     3 bytes a row of subjects that changes from now on; a row for each restraint
-- Undo     DROP TABLE restraints; ALTER TABLE subjects DROP COLUMN restraints;
--          ALTER TABLE alert_rules DROP COLUMN action, DROP COLUMN channels; the old checks again
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE restraints (
    restraint_id uuid NOT NULL,
    subject text COLLATE "C" NOT NULL,
    rule text COLLATE "C" NOT NULL,
    action jsonb NOT NULL,
    reason text NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    ends_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT restraints_pkey PRIMARY KEY (restraint_id)
);

CREATE UNIQUE INDEX restraints_in_force_idx ON restraints (subject, rule) WHERE ended_at IS NULL;
CREATE INDEX restraints_ends_at_idx ON restraints (ends_at) WHERE ended_at IS NULL;

COMMENT ON TABLE restraints IS 'What rules put on subjects for a while';
COMMENT ON COLUMN restraints.restraint_id IS 'The id, a UUIDv7';
COMMENT ON COLUMN restraints.subject IS 'The level of a subject that it is on';
COMMENT ON COLUMN restraints.rule IS 'The rule that put it there';
COMMENT ON COLUMN restraints.action IS 'What it does: {"block": {"for_s"}} or {"slow": {"metric", "per_minute", "for_s"}}';
COMMENT ON COLUMN restraints.reason IS 'What the rule found';
COMMENT ON COLUMN restraints.began_at IS 'When it came into force';
COMMENT ON COLUMN restraints.ends_at IS 'When it is to end';
COMMENT ON COLUMN restraints.ended_at IS 'When it ended, by its time or by an admin; null while it is in force';

ALTER TABLE subjects
ADD COLUMN restraints jsonb NOT NULL DEFAULT '[]',
ADD CONSTRAINT subjects_restraints_array CHECK (jsonb_typeof(restraints) = 'array') NOT VALID,
ADD CONSTRAINT subjects_restraints_length CHECK (jsonb_array_length(restraints) <= 8) NOT VALID;

COMMENT ON COLUMN subjects.restraints IS
'What rules have put on the subject and is in force: a JSON array of at most 8 objects; kept when the profile is deleted';

ALTER TABLE alert_rules
ADD COLUMN action jsonb,
ADD COLUMN channels uuid [];

COMMENT ON COLUMN alert_rules.action IS 'What is done to a subject beside telling of it, as in restraints; null is nothing';
COMMENT ON COLUMN alert_rules.channels IS 'The webhooks that are told, of those that ask for it; null is all of them';

ALTER TABLE webhooks
DROP CONSTRAINT webhooks_format_known,
ADD CONSTRAINT webhooks_format_known CHECK (format IN ('standard', 'slack', 'discord', 'email')) NOT VALID;

ALTER TABLE audit_log
DROP CONSTRAINT audit_log_action_known,
ADD CONSTRAINT audit_log_action_known CHECK (action IN (
    'subject.put', 'subject.delete', 'usage.reset', 'usage.set', 'usage.decrement', 'grant.create', 'grant.revoke',
    'catalogue.replace', 'plan.put', 'model.put', 'key.create', 'key.revoke',
    'webhook.create', 'webhook.put', 'webhook.delete', 'webhook.replay', 'rule.put', 'rule.delete',
    'restraint.put', 'restraint.end'
)) NOT VALID;

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE ON restraints TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON restraints TO headroom_analyst;
    END IF;
END
$$;
