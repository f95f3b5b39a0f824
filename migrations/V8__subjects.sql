-- Purpose  What is configured for a subject (subjects), and the one counter that profile versions are drawn from
--          (profile_versions).
--          Nodes poll for the profiles above the last version they saw, so versions must become visible in their order. A
--          sequence does not give that: of two writers the one with the lower number may commit last, and a node that has
--          seen the higher one would never ask for it. So a version comes from a row that its writer locks until its commit.
--          Writers of profiles wait for each other for the length of a transaction: an admin's calls, not a user's. The
--          counter is not a column of settings, which every node reads and none may write.
--          A deleted profile keeps its row, so that nodes hear of it and the subject's versions only grow.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row, and one row a subject that was ever configured, at most 16 kB each
-- Undo     DROP TABLE subjects, profile_versions;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE profile_versions (
    one_row boolean NOT NULL DEFAULT true,
    profile_version bigint NOT NULL DEFAULT 0,
    CONSTRAINT profile_versions_pkey PRIMARY KEY (one_row),
    CONSTRAINT profile_versions_one_row CHECK (one_row),
    CONSTRAINT profile_versions_range CHECK (profile_version >= 0)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

COMMENT ON TABLE profile_versions IS 'The counter of profile versions; exactly one row';
COMMENT ON COLUMN profile_versions.one_row IS 'Always true: the key that keeps a second row out';
COMMENT ON COLUMN profile_versions.profile_version IS 'The last version that was drawn, over all subjects; 0 before the first';

INSERT INTO profile_versions (profile_version) VALUES (0);

-- In the order of bytes, in which all that lies below a subject is one range.
CREATE TABLE subjects (
    subject text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    plan text GENERATED ALWAYS AS (profile ->> 'plan') STORED,
    profile jsonb NOT NULL,
    is_deleted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT subjects_pkey PRIMARY KEY (subject),
    CONSTRAINT subjects_version_key UNIQUE (version),
    CONSTRAINT subjects_version_range CHECK (version >= 1),
    CONSTRAINT subjects_profile_object CHECK (jsonb_typeof(profile) = 'object'),
    CONSTRAINT subjects_profile_size CHECK (octet_length(profile::text) <= 16384),
    CONSTRAINT subjects_deleted_is_empty CHECK (NOT is_deleted OR profile = '{}')
);

COMMENT ON TABLE subjects IS 'What is configured for a subject; one row a subject that has, or once had, a profile';
COMMENT ON COLUMN subjects.subject IS 'The level of a subject that the profile is of';
COMMENT ON COLUMN subjects.version IS 'Version of the profile, drawn from profile_versions: it grows over all subjects';
COMMENT ON COLUMN subjects.plan IS 'The plan that the profile names; null when it names none';
COMMENT ON COLUMN subjects.profile IS
'Plan, limits, features, time zone, anchor day, blocked: a JSON object, at most 16,384 bytes as text; {} when deleted';
COMMENT ON COLUMN subjects.is_deleted IS 'Whether the profile was deleted';
COMMENT ON COLUMN subjects.created_at IS 'When the profile was first put, or put again after it was deleted';
COMMENT ON COLUMN subjects.updated_at IS 'When the row last changed';
