-- Purpose  Tells by Postgres' clock how old a transfer is, so that who finishes what others left goes neither by a node's clock nor
--          by Redis', which may stand still for as long as it had been ahead (docs/adr/0018).
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on transfers, for an instant; SHARE while the index of the pending ones is built, of which there are few
-- Size     8 bytes a transfer
-- Undo     DROP INDEX transfers_pending_begun_at_idx; ALTER TABLE transfers DROP COLUMN begun_at; the index as in V21
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '1h';

ALTER TABLE transfers ADD COLUMN begun_at timestamptz NOT NULL DEFAULT now();

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_pending_begun_at_idx ON transfers (begun_at, id) WHERE state = 'pending';

-- squawk-ignore require-concurrent-index-deletion
DROP INDEX transfers_pending_idx;

COMMENT ON COLUMN transfers.begun_at IS 'When the row was written, by Postgres'' clock';
