-- Purpose  The open grants of a subject beside its profile (subjects.grants), so that one row and one version tell a node all that
--          is configured. A constant default, which Postgres keeps in the catalogue: no row is written. The checks are NOT VALID
--          here and validated by a later migration.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on subjects, for an instant
-- Size     3 bytes a row that changes from now on; at most 16 kB for one with grants
-- Undo     ALTER TABLE subjects DROP COLUMN grants;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE subjects
ADD COLUMN grants jsonb NOT NULL DEFAULT '[]',
ADD CONSTRAINT subjects_grants_array CHECK (jsonb_typeof(grants) = 'array') NOT VALID,
ADD CONSTRAINT subjects_grants_length CHECK (jsonb_array_length(grants) <= 32) NOT VALID;

COMMENT ON TABLE subjects IS 'What is configured for a subject; one row a subject that has, or once had, a profile or a grant';
COMMENT ON COLUMN subjects.grants IS
'The open grants when the row last changed, the earliest expiry first: a JSON array of at most 32 objects; kept when the profile is deleted';
COMMENT ON COLUMN subjects.is_deleted IS 'Whether there is no profile: it was deleted, or there are only grants';
