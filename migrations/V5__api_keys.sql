-- Purpose  Who may call (api_keys). Only the hash of a secret is stored.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row a key
-- Undo     DROP TABLE api_keys;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE api_keys (
    id text NOT NULL,
    secret_sha256 bytea NOT NULL,
    name text NOT NULL,
    permissions text [] NOT NULL,
    subject_prefix text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_secret_sha256_length CHECK (octet_length(secret_sha256) = 32),
    CONSTRAINT api_keys_permissions_known
    CHECK (permissions <@ ARRAY['check', 'consume', 'read', 'admin'])
);

COMMENT ON TABLE api_keys IS 'Who may call; the secrets themselves are nowhere';
COMMENT ON COLUMN api_keys.id IS 'The public part of the key';
COMMENT ON COLUMN api_keys.secret_sha256 IS 'SHA-256 of the secret part, 32 bytes';
COMMENT ON COLUMN api_keys.name IS 'What people call the key';
COMMENT ON COLUMN api_keys.permissions IS 'What the key may do: check, consume, read, admin';
COMMENT ON COLUMN api_keys.subject_prefix IS 'The only part of the subject tree the key reaches; null for all of it';
COMMENT ON COLUMN api_keys.created_at IS 'When the key was made';
COMMENT ON COLUMN api_keys.expires_at IS 'When the key stops working; null for never';
COMMENT ON COLUMN api_keys.revoked_at IS 'When the key was revoked; null when it was not';
