-- Purpose  What admins did (audit_log): one row an act, written in the transaction of the act where that is in Postgres.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row an act of an admin, at most 130 kB, mostly below 1 kB
-- Undo     DROP TABLE audit_log;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    reason text,
    before jsonb,
    after jsonb,
    request_id text,
    CONSTRAINT audit_log_pkey PRIMARY KEY (id),
    CONSTRAINT audit_log_action_known CHECK (action IN (
        'subject.put', 'subject.delete', 'usage.reset', 'usage.set', 'usage.decrement',
        'catalogue.replace', 'plan.put', 'model.put', 'key.create', 'key.revoke'
    )),
    CONSTRAINT audit_log_actor_size CHECK (octet_length(actor) BETWEEN 1 AND 200),
    CONSTRAINT audit_log_target_size CHECK (octet_length(target) BETWEEN 1 AND 1000),
    CONSTRAINT audit_log_reason_size CHECK (octet_length(reason) <= 500),
    CONSTRAINT audit_log_before_size CHECK (octet_length(before::text) <= 65536),
    CONSTRAINT audit_log_after_size CHECK (octet_length(after::text) <= 65536),
    CONSTRAINT audit_log_request_id_size CHECK (octet_length(request_id) <= 200)
);

-- The primary key read backwards is the log with the newest first; these are the same for one target and one actor.
CREATE INDEX audit_log_target_id_idx ON audit_log (target, id DESC);
CREATE INDEX audit_log_actor_id_idx ON audit_log (actor, id DESC);

COMMENT ON TABLE audit_log IS 'What admins did; one row an act';
COMMENT ON COLUMN audit_log.id IS 'The row''s id; later acts have higher ones';
COMMENT ON COLUMN audit_log.occurred_at IS 'When it was done';
COMMENT ON COLUMN audit_log.actor IS 'Who did it: the id of an API key, cli, or bootstrap';
COMMENT ON COLUMN audit_log.action IS 'What was done';
COMMENT ON COLUMN audit_log.target IS 'What it was done to: a subject, a plan, a model, a key''s id or the catalogue';
COMMENT ON COLUMN audit_log.reason IS 'Why, in the actor''s words, at most 500 bytes; null when none was given';
COMMENT ON COLUMN audit_log.before IS 'What there was: a profile, {"version": …} of a catalogue; null when there was nothing to tell';
COMMENT ON COLUMN audit_log.after IS 'What there was then; null when nothing was left or there is nothing to tell';
COMMENT ON COLUMN audit_log.request_id IS 'The request''s id; null when there was no request';
