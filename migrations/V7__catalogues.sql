-- Purpose  Every version of the catalogue (catalogues). The one in force is the highest. A node adds versions and never
--          changes one, so what was in force at any time can be read. Versions have no gaps: each is inserted as the one
--          after the version that its writer saw, and of two writers who saw the same one meets the other's row.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row a change of the catalogue, at most 1 MiB each
-- Undo     DROP TABLE catalogues;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE catalogues (
    version bigint NOT NULL,
    document jsonb NOT NULL,
    actor text NOT NULL,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT catalogues_pkey PRIMARY KEY (version),
    CONSTRAINT catalogues_version_range CHECK (version >= 1),
    CONSTRAINT catalogues_document_object CHECK (jsonb_typeof(document) = 'object'),
    CONSTRAINT catalogues_document_size CHECK (octet_length(document::text) <= 1048576),
    CONSTRAINT catalogues_actor_size CHECK (octet_length(actor) BETWEEN 1 AND 200),
    CONSTRAINT catalogues_reason_size CHECK (octet_length(reason) <= 500)
);

COMMENT ON TABLE catalogues IS 'Every version of the catalogue; the highest is in force';
COMMENT ON COLUMN catalogues.version IS 'Number of the version, from 1, without gaps';
COMMENT ON COLUMN catalogues.document IS 'Metrics, features, plans and models: a JSON object, at most 1 MiB as text';
COMMENT ON COLUMN catalogues.actor IS 'Who made it: the id of an API key, cli, or bootstrap for the first';
COMMENT ON COLUMN catalogues.reason IS 'Why, in the actor''s words, at most 500 bytes; null when none was given';
COMMENT ON COLUMN catalogues.created_at IS 'When it was made';
