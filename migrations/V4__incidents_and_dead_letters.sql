-- Purpose  What went wrong and was not hidden: losses in Redis (incidents), outbox entries that cannot be stored
--          (dead_letters).
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row a recovery; one row a poison entry
-- Undo     DROP TABLE dead_letters, incidents;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE incidents (
    incident_id uuid NOT NULL DEFAULT gen_random_uuid(),
    shard bigint NOT NULL,
    detected_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    old_epoch bigint NOT NULL,
    new_epoch bigint NOT NULL,
    redis_epoch bigint,
    expected_seq bigint NOT NULL,
    found_seq bigint,
    salvaged bigint NOT NULL,
    lost_at_most bigint NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT incidents_pkey PRIMARY KEY (incident_id),
    CONSTRAINT incidents_epoch_grows CHECK (new_epoch > old_epoch)
);

CREATE INDEX incidents_detected_at_idx ON incidents (detected_at DESC);

COMMENT ON TABLE incidents IS 'Recoveries of a shard after Redis lost or may have lost acknowledged events';
COMMENT ON COLUMN incidents.incident_id IS 'The incident''s id';
COMMENT ON COLUMN incidents.shard IS 'Shard, from 0';
COMMENT ON COLUMN incidents.detected_at IS 'When the recovery began';
COMMENT ON COLUMN incidents.reason IS 'What was noticed';
COMMENT ON COLUMN incidents.old_epoch IS 'Epoch that ended';
COMMENT ON COLUMN incidents.new_epoch IS 'Epoch that began';
COMMENT ON COLUMN incidents.redis_epoch IS 'Epoch found in Redis; null when there was none';
COMMENT ON COLUMN incidents.expected_seq IS 'Last seq known to have been acknowledged';
COMMENT ON COLUMN incidents.found_seq IS 'Last seq found in Redis; null when there was none';
COMMENT ON COLUMN incidents.salvaged IS 'Events that were found in the outbox and logged by the recovery';
COMMENT ON COLUMN incidents.lost_at_most IS 'Upper bound of the acknowledged events that are lost';
COMMENT ON COLUMN incidents.detail IS 'What else was known';

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY,
    shard bigint NOT NULL,
    epoch bigint NOT NULL,
    seq_first bigint NOT NULL,
    seq_last bigint NOT NULL,
    raw bytea NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id),
    CONSTRAINT dead_letters_seq_order CHECK (seq_first <= seq_last)
);

COMMENT ON TABLE dead_letters IS 'Outbox entries that could not be read or stored, as they were found';
COMMENT ON COLUMN dead_letters.id IS 'The row''s id';
COMMENT ON COLUMN dead_letters.shard IS 'Shard, from 0';
COMMENT ON COLUMN dead_letters.epoch IS 'Epoch of the shard';
COMMENT ON COLUMN dead_letters.seq_first IS 'First seq of the entry';
COMMENT ON COLUMN dead_letters.seq_last IS 'Last seq of the entry';
COMMENT ON COLUMN dead_letters.raw IS 'The bytes as they were in the outbox';
COMMENT ON COLUMN dead_letters.reason IS 'Why they are here';
COMMENT ON COLUMN dead_letters.created_at IS 'When they were put here';
