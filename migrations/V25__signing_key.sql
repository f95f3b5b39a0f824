-- Purpose  The key that signs the ids of reservations, the same for every node. Two random UUIDs have 244 bits from
--          the operating system's generator, which is more than HMAC-SHA-256 needs (RFC 2104 section 3).
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on settings, for an instant: it has one row
-- Size     32 bytes
-- Undo     ALTER TABLE settings DROP COLUMN signing_key; ids that were given out are then unknown
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE settings
ADD COLUMN signing_key bytea NOT NULL
-- squawk-ignore adding-field-with-default
DEFAULT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');

COMMENT ON COLUMN settings.signing_key IS 'Signs the ids of reservations; a secret';
