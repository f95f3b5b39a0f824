-- Purpose  Bonus units and raised limits (grants). What is used of them is added by the flush, in the transaction of the log.
--          No check on used: a wrong sum is for the checker to find, and must not stop the flusher.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row a grant, at most 1 kB
-- Undo     DROP TABLE grants;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE grants (
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL,
    subject text COLLATE "C" NOT NULL,
    metric text NOT NULL,
    amount bigint NOT NULL,
    used bigint NOT NULL DEFAULT 0,
    period text,
    expires_at timestamptz,
    source text NOT NULL,
    note text,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    revoked_at timestamptz,
    transfer_id uuid,
    CONSTRAINT grants_pkey PRIMARY KEY (id),
    CONSTRAINT grants_event_id_key UNIQUE (event_id),
    CONSTRAINT grants_amount_range CHECK (amount BETWEEN 1 AND 9007199254740991),
    CONSTRAINT grants_period_known CHECK (period IN ('minute', 'hour', 'day', 'week', 'month', 'lifetime')),
    CONSTRAINT grants_source_known CHECK (source IN ('admin', 'promotion', 'purchase', 'gift')),
    CONSTRAINT grants_note_size CHECK (octet_length(note) <= 500),
    CONSTRAINT grants_created_by_size CHECK (octet_length(created_by) BETWEEN 1 AND 200)
) WITH (fillfactor = 80);

-- No index holds a column that a flush changes, so that its updates stay in place (HOT).
CREATE INDEX grants_subject_id_idx ON grants (subject, id DESC);
CREATE INDEX grants_transfer_id_idx ON grants (transfer_id) WHERE transfer_id IS NOT NULL;

COMMENT ON TABLE grants IS 'Units beside what a plan allows, and limits that are raised for a while; one row a grant';
COMMENT ON COLUMN grants.id IS 'The grant''s number, unique over all subjects';
COMMENT ON COLUMN grants.event_id IS 'The grant''s event in message_logs, a UUIDv7';
COMMENT ON COLUMN grants.subject IS 'The level of a subject that has it';
COMMENT ON COLUMN grants.metric IS 'What it is of';
COMMENT ON COLUMN grants.amount IS 'Units given, or by how many the limit is raised';
COMMENT ON COLUMN grants.used IS 'Units used up, the sum of its deltas in message_logs; 0 for a raised limit';
COMMENT ON COLUMN grants.period IS 'The period whose limit is raised; null for bonus units';
COMMENT ON COLUMN grants.expires_at IS 'When it ends, whole seconds; null for never';
COMMENT ON COLUMN grants.source IS 'Where it comes from: admin, promotion, purchase or gift';
COMMENT ON COLUMN grants.note IS 'What was said of it, at most 500 bytes';
COMMENT ON COLUMN grants.created_at IS 'When it was given';
COMMENT ON COLUMN grants.created_by IS 'Who gave it: the id of an API key, or cli; of a gift whoever began the transfer';
COMMENT ON COLUMN grants.revoked_at IS 'When it was revoked; null when it was not';
COMMENT ON COLUMN grants.transfer_id IS 'The transfer that it is from; null when it was given from outside';
