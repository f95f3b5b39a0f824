-- Purpose  What happens, in one order for everybody who wants to hear of it: feed has a row for each transaction that logged
--          events or noted something, written by that transaction. Events are named by their ids alone; their rows are in
--          message_logs. A row gets its place when it is committed and visible, by one node at a time (feed_state), so
--          that who has read up to a place has missed nothing (docs/adr/0021).
-- Phase    expand
-- Locks    none on existing tables
-- Size     17 bytes an event and 60 a flush, for as long as feed.keep_s says
-- Undo     DROP TABLE feed, feed_state;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE feed (
    id bigint GENERATED ALWAYS AS IDENTITY,
    place bigint,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    events uuid [] NOT NULL,
    signals jsonb NOT NULL,
    CONSTRAINT feed_pkey PRIMARY KEY (id),
    CONSTRAINT feed_place_key UNIQUE (place)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE INDEX feed_unplaced_idx ON feed (id) WHERE place IS NULL;

COMMENT ON TABLE feed IS 'What happened, in order; a row for each transaction that logged events or noted something';
COMMENT ON COLUMN feed.id IS 'The row''s id; not in the order of commits';
COMMENT ON COLUMN feed.place IS 'Place in the order of the feed, from 1 without gaps; null until it is given';
COMMENT ON COLUMN feed.made_at IS 'When the row was written';
COMMENT ON COLUMN feed.events IS 'Ids of the events that were logged, in the order of their seq';
COMMENT ON COLUMN feed.signals IS 'What was noted beside them: [{id, type, subject, time, data}, …]';

CREATE TABLE feed_state (
    id boolean NOT NULL DEFAULT TRUE,
    last_place bigint NOT NULL,
    CONSTRAINT feed_state_pkey PRIMARY KEY (id),
    CONSTRAINT feed_state_one_row CHECK (id)
);

COMMENT ON TABLE feed_state IS 'One row: locked by whoever gives places';
COMMENT ON COLUMN feed_state.id IS 'Always true';
COMMENT ON COLUMN feed_state.last_place IS 'The last place given';

INSERT INTO feed_state (last_place) VALUES (0);

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON feed TO headroom_app;
        GRANT SELECT, UPDATE ON feed_state TO headroom_app;
    END IF;
    IF to_regrole('headroom_analyst') IS NOT NULL THEN
        GRANT SELECT ON feed, feed_state TO headroom_analyst;
    END IF;
END
$$;
