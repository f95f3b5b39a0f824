-- Purpose  What a node and an analyst may do with reservations, grants and transfers. A node deletes nothing but holds that ended.
--          Rights of a role that is missing are left out, as before.
-- Phase    expand
-- Locks    ACCESS SHARE on each table, for an instant
-- Size     nothing
-- Undo     REVOKE ALL ON reservations, reservation_holds, grants, transfers FROM headroom_app, headroom_analyst;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NULL THEN
        RAISE NOTICE 'grants to headroom_app were left out: no such role';
        RETURN;
    END IF;
    GRANT SELECT, INSERT, UPDATE ON reservations, grants, transfers TO headroom_app;
    GRANT SELECT, INSERT, DELETE ON reservation_holds TO headroom_app;
END
$$;

DO $$
BEGIN
    IF to_regrole('headroom_analyst') IS NULL THEN
        RAISE NOTICE 'grants to headroom_analyst were left out: no such role';
        RETURN;
    END IF;
    GRANT SELECT ON reservations, reservation_holds, grants, transfers TO headroom_analyst;
END
$$;
