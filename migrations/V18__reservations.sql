-- Purpose  The life of each reservation (reservations), and what the open ones hold of each counter (reservation_holds), which a
--          load reads. Both change with the log, in the transaction of the flush.
--          A commit, release or expire whose reserve is not here, because Redis lost it, leaves a row without reserved_at: should
--          the reserve come after all, it is not open again.
--          Rows of reservation_holds go when their reservation ends: the table is as long as there is work in progress. Counters
--          of minutes and hours live in Redis alone (docs/adr/0011), so it has none of theirs.
-- Phase    expand
-- Locks    none on existing tables
-- Size     one row a reservation, about 500 bytes with its indexes; one short-lived row for each counter that it holds
-- Undo     DROP TABLE reservation_holds, reservations;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE reservations (
    id uuid NOT NULL,
    shard bigint NOT NULL,
    subject text NOT NULL,
    model text,
    amount bigint NOT NULL,
    plan text NOT NULL,
    until timestamptz NOT NULL,
    reserved_at timestamptz,
    request_id text,
    metadata jsonb,
    lines jsonb NOT NULL,
    state text NOT NULL,
    ended_at timestamptz,
    committed bigint,
    CONSTRAINT reservations_pkey PRIMARY KEY (id),
    CONSTRAINT reservations_state_known CHECK (state IN ('open', 'committed', 'released', 'expired', 'late')),
    CONSTRAINT reservations_open_or_ended CHECK ((state = 'open') = (ended_at IS NULL)),
    CONSTRAINT reservations_committed_amount CHECK ((state IN ('committed', 'late')) = (committed IS NOT NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- What is due, and what a subject has in progress. A reservation that ended within the same flush never enters them.
CREATE INDEX reservations_open_until_idx ON reservations (until, id) WHERE state = 'open';
CREATE INDEX reservations_open_subject_idx ON reservations (subject, id DESC) WHERE state = 'open';

COMMENT ON TABLE reservations IS 'The life of each reservation: open, then committed, released or expired; late when committed after that';
COMMENT ON COLUMN reservations.id IS 'The reservation''s id: the id of its reserve event, a UUIDv7';
COMMENT ON COLUMN reservations.shard IS 'Shard of the subject''s root, from 0';
COMMENT ON COLUMN reservations.subject IS 'The whole path that holds units';
COMMENT ON COLUMN reservations.model IS 'The chat model that was asked for; null when a metric was named';
COMMENT ON COLUMN reservations.amount IS 'What was asked to be held';
COMMENT ON COLUMN reservations.plan IS 'The plan whose limits were in force';
COMMENT ON COLUMN reservations.until IS 'When the hold ends by itself, whole seconds';
COMMENT ON COLUMN reservations.reserved_at IS 'When Redis decided the reserve; null when only its end is known';
COMMENT ON COLUMN reservations.request_id IS 'The request''s id; null when it is the reservation''s id';
COMMENT ON COLUMN reservations.metadata IS 'The caller''s own data';
COMMENT ON COLUMN reservations.lines IS 'What it holds, or held last, of each counter; as deltas of message_logs';
COMMENT ON COLUMN reservations.state IS 'open, committed, released, expired, or late: committed after the hold had ended';
COMMENT ON COLUMN reservations.ended_at IS 'When it ended; null while it is open';
COMMENT ON COLUMN reservations.committed IS 'The amount that was committed; null unless it was';

CREATE TABLE reservation_holds (
    level text COLLATE "C" NOT NULL,
    reservation_id uuid NOT NULL,
    place bigint NOT NULL,
    metric text NOT NULL,
    period text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    grant_id bigint,
    until timestamptz NOT NULL,
    units bigint NOT NULL,
    CONSTRAINT reservation_holds_pkey PRIMARY KEY (level, reservation_id, place)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);

COMMENT ON TABLE reservation_holds IS 'What each open reservation holds of each counter of a day or longer';
COMMENT ON COLUMN reservation_holds.level IS 'The level of a subject whose counter it is';
COMMENT ON COLUMN reservation_holds.reservation_id IS 'The reservation';
COMMENT ON COLUMN reservation_holds.place IS 'Place of the counter among those of the reservation, from 0';
COMMENT ON COLUMN reservation_holds.metric IS 'What is counted';
COMMENT ON COLUMN reservation_holds.period IS 'How often the limit starts anew; lifetime for a grant';
COMMENT ON COLUMN reservation_holds.window_start IS 'First instant of the window';
COMMENT ON COLUMN reservation_holds.window_end IS 'First instant after the window; of a grant when it ends';
COMMENT ON COLUMN reservation_holds.grant_id IS 'The grant whose units are held; null when they are a limit''s';
COMMENT ON COLUMN reservation_holds.until IS 'When the units are free by themselves, whole seconds';
COMMENT ON COLUMN reservation_holds.units IS 'Units held';
