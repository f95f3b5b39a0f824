-- Purpose  Two groups that logins can be put into: headroom_app (what a node does) and headroom_analyst (what people may
--          read). Roles belong to the whole cluster: they may exist already, another database may be making them at this
--          moment, or the migrating user may not be allowed to. None of that stops the migration; grants to a role
--          that is missing are left out, and a notice says so.
-- Phase    expand
-- Locks    ACCESS SHARE on each table, for an instant
-- Size     nothing
-- Undo     DROP OWNED BY headroom_app, headroom_analyst; DROP ROLE headroom_app, headroom_analyst;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['headroom_app', 'headroom_analyst'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % was not created: not permitted', role_name;
        END;
    END LOOP;
END
$$;

-- A node adds to the log and never changes it: no UPDATE, no DELETE on message_logs, no DDL anywhere.
DO $$
BEGIN
    IF to_regrole('headroom_app') IS NULL THEN
        RAISE NOTICE 'grants to headroom_app were left out: no such role';
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA public TO headroom_app;
    GRANT SELECT ON settings TO headroom_app;
    GRANT SELECT, UPDATE ON outbox_cursors TO headroom_app;
    GRANT SELECT, INSERT ON message_logs, incidents, dead_letters TO headroom_app;
    GRANT SELECT, INSERT, UPDATE ON usage_counters, api_keys TO headroom_app;
    GRANT EXECUTE ON FUNCTION ensure_message_log_partitions(integer) TO headroom_app;
END
$$;

DO $$
BEGIN
    IF to_regrole('headroom_analyst') IS NULL THEN
        RAISE NOTICE 'grants to headroom_analyst were left out: no such role';
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA public TO headroom_analyst;
    GRANT SELECT ON message_logs, usage_counters, incidents, dead_letters, outbox_cursors TO headroom_analyst;
END
$$;
