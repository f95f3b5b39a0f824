-- Purpose  Gifts of bonus units from one subject to another (transfers). A row is begun here, then Redis takes the units of the
--          giver's grants, then the receiver's grants are made: pending says that the second or third step may be missing.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row a transfer, at most 2 kB
-- Undo     DROP TABLE transfers;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE transfers (
    id uuid NOT NULL,
    from_subject text NOT NULL,
    to_subject text NOT NULL,
    metric text NOT NULL,
    amount bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending',
    requested_at timestamptz NOT NULL,
    ended_at timestamptz,
    note text,
    actor text NOT NULL,
    request_id text,
    CONSTRAINT transfers_pkey PRIMARY KEY (id),
    CONSTRAINT transfers_state_known CHECK (state IN ('pending', 'done', 'refused')),
    CONSTRAINT transfers_two_subjects CHECK (from_subject <> to_subject),
    CONSTRAINT transfers_amount_range CHECK (amount BETWEEN 1 AND 9007199254740991),
    CONSTRAINT transfers_pending_or_ended CHECK ((state = 'pending') = (ended_at IS NULL)),
    CONSTRAINT transfers_note_size CHECK (octet_length(note) <= 500),
    CONSTRAINT transfers_actor_size CHECK (octet_length(actor) BETWEEN 1 AND 200),
    CONSTRAINT transfers_request_id_size CHECK (octet_length(request_id) <= 200)
);

CREATE INDEX transfers_from_requested_at_idx ON transfers (from_subject, requested_at DESC);
CREATE INDEX transfers_to_requested_at_idx ON transfers (to_subject, requested_at DESC);
CREATE INDEX transfers_pending_idx ON transfers (requested_at, id) WHERE state = 'pending';

COMMENT ON TABLE transfers IS 'Gifts of bonus units; one row a transfer that its rules allowed';
COMMENT ON COLUMN transfers.id IS 'The transfer''s id: the id of the event that takes the units from the giver, a UUIDv7';
COMMENT ON COLUMN transfers.from_subject IS 'Who gives';
COMMENT ON COLUMN transfers.to_subject IS 'Who receives';
COMMENT ON COLUMN transfers.metric IS 'What is given';
COMMENT ON COLUMN transfers.amount IS 'Units given';
COMMENT ON COLUMN transfers.state IS 'pending, done or refused';
COMMENT ON COLUMN transfers.requested_at IS 'When it was asked for';
COMMENT ON COLUMN transfers.ended_at IS 'When it was done or refused; null while it is pending';
COMMENT ON COLUMN transfers.note IS 'What the giver says, at most 500 bytes';
COMMENT ON COLUMN transfers.actor IS 'Who asked for it: the id of an API key, or cli';
COMMENT ON COLUMN transfers.request_id IS 'The request''s id; null when there was no request';
