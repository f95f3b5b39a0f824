-- Purpose  What every node must agree on (settings), and how far each shard's outbox is in Postgres (outbox_cursors).
--          The rows are written by `headroom migrate` after the migrations: only it knows the number of shards.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row, and one row a shard
-- Undo     DROP TABLE outbox_cursors, settings;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE settings (
    one_row boolean NOT NULL DEFAULT true,
    instance uuid NOT NULL DEFAULT gen_random_uuid(),
    shards bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT settings_pkey PRIMARY KEY (one_row),
    CONSTRAINT settings_one_row CHECK (one_row),
    CONSTRAINT settings_shards_range CHECK (shards BETWEEN 1 AND 65535)
);

COMMENT ON TABLE settings IS 'What every node must agree on; exactly one row';
COMMENT ON COLUMN settings.one_row IS 'Always true: the key that keeps a second row out';
COMMENT ON COLUMN settings.instance IS 'Identity of this ledger; Redis carries the same, so that two installations cannot be mixed';
COMMENT ON COLUMN settings.shards IS 'Number of shards; changed only by resharding';
COMMENT ON COLUMN settings.created_at IS 'When the ledger was initialised';

-- Each flush updates one row here. Free space on the page keeps those updates in place (HOT).
CREATE TABLE outbox_cursors (
    shard bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    seq bigint NOT NULL DEFAULT 0,
    fence uuid,
    forget text [] NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbox_cursors_pkey PRIMARY KEY (shard),
    CONSTRAINT outbox_cursors_shard_range CHECK (shard BETWEEN 0 AND 65534),
    CONSTRAINT outbox_cursors_epoch_range CHECK (epoch >= 1),
    CONSTRAINT outbox_cursors_seq_range CHECK (seq >= 0)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

COMMENT ON TABLE outbox_cursors IS 'How far the outbox of each shard is in Postgres; one row a shard';
COMMENT ON COLUMN outbox_cursors.shard IS 'Shard, from 0';
COMMENT ON COLUMN outbox_cursors.epoch IS 'Number of the shard''s Redis lifetime, from 1; only grows';
COMMENT ON COLUMN outbox_cursors.seq IS 'Last event of the epoch that is in message_logs; 0 before the first';
COMMENT ON COLUMN outbox_cursors.fence IS 'Token of the recovery that began the epoch; null in the first epoch';
COMMENT ON COLUMN outbox_cursors.forget IS 'Subjects whose counters in Redis must be loaded anew, until that is done';
COMMENT ON COLUMN outbox_cursors.updated_at IS 'When the row last changed';
