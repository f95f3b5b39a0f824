-- Purpose  What a node and an analyst may do with the catalogue, the profiles and the audit log. Nobody changes a version of
--          the catalogue or an act in the audit log. Who did what is for admins: an analyst does not read it.
--          Grants to a role that is missing are left out, as before.
-- Phase    expand
-- Locks    ACCESS SHARE on each table, for an instant
-- Size     nothing
-- Undo     REVOKE ALL ON catalogues, subjects, profile_versions, audit_log FROM headroom_app, headroom_analyst;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NULL THEN
        RAISE NOTICE 'grants to headroom_app were left out: no such role';
        RETURN;
    END IF;
    GRANT SELECT, INSERT ON catalogues, audit_log TO headroom_app;
    GRANT SELECT, INSERT, UPDATE ON subjects TO headroom_app;
    GRANT SELECT, UPDATE ON profile_versions TO headroom_app;
END
$$;

DO $$
BEGIN
    IF to_regrole('headroom_analyst') IS NULL THEN
        RAISE NOTICE 'grants to headroom_analyst were left out: no such role';
        RETURN;
    END IF;
    GRANT SELECT ON subjects, catalogues TO headroom_analyst;
END
$$;
