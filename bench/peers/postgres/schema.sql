-- Postgres alone: both limits are checked and charged, and the message logged, in one serializable transaction.
CREATE TABLE counters (
    subject text PRIMARY KEY,
    messages bigint NOT NULL,
    premium bigint NOT NULL
);
CREATE TABLE messages (
    id bigserial PRIMARY KEY,
    subject text NOT NULL,
    model text NOT NULL,
    key text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION consume(the_subject text, the_model text, the_key text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    is_small boolean := the_subject LIKE 'small:%';
    more integer := (the_model LIKE 'claude-%')::integer;
    used record;
BEGIN
    SELECT c.messages, c.premium INTO used FROM counters c WHERE c.subject = the_subject;
    IF is_small AND (coalesce(used.messages, 0) >= 100 OR (more = 1 AND coalesce(used.premium, 0) >= 20)) THEN
        RETURN false;
    END IF;
    INSERT INTO counters AS c VALUES (the_subject, 1, more)
        ON CONFLICT (subject) DO UPDATE SET messages = c.messages + 1, premium = c.premium + more;
    INSERT INTO messages (subject, model, key) VALUES (the_subject, the_model, the_key);
    RETURN true;
END
$$;
