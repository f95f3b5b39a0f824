-- Purpose  Who is told of what happens over HTTP (webhooks), what is to be sent and was sent (webhook_deliveries), and how far the
--          feed was looked through for that (webhook_state).
-- Phase    expand
-- Locks    none on existing tables
-- Size     a row for each webhook and event that it asks for, for seven days
-- Undo     DROP TABLE webhook_deliveries, webhooks, webhook_state;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE webhooks (
    webhook_id uuid NOT NULL,
    url text NOT NULL,
    secret bytea NOT NULL,
    format text NOT NULL,
    types text [] NOT NULL,
    subject text COLLATE "C",
    enabled boolean NOT NULL,
    disabled_reason text,
    since_place bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT webhooks_format_known CHECK (format IN ('standard', 'slack', 'discord')),
    CONSTRAINT webhooks_url_length CHECK (octet_length(url) <= 2000)
);

COMMENT ON TABLE webhooks IS 'Who is told of what happens over HTTP';
COMMENT ON COLUMN webhooks.webhook_id IS 'The webhook''s id, a UUIDv7';
COMMENT ON COLUMN webhooks.url IS 'Where deliveries go';
COMMENT ON COLUMN webhooks.secret IS 'The key that deliveries are signed with';
COMMENT ON COLUMN webhooks.format IS 'What a body looks like: Standard Webhooks with CloudEvents, or messages of Slack or Discord';
COMMENT ON COLUMN webhooks.types IS 'The types that are asked for; none is all';
COMMENT ON COLUMN webhooks.subject IS 'Only what is about this subject or below it; null is all';
COMMENT ON COLUMN webhooks.enabled IS 'Whether anything is sent';
COMMENT ON COLUMN webhooks.disabled_reason IS 'Why the service has stopped sending; null when it has not';
COMMENT ON COLUMN webhooks.since_place IS 'The place of the feed after which it is told of things';
COMMENT ON COLUMN webhooks.created_at IS 'When it was made';

CREATE TABLE webhook_deliveries (
    webhook_id uuid NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    body text NOT NULL,
    state text NOT NULL DEFAULT 'pending',
    attempts bigint NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    last_status bigint,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (webhook_id, event_id),
    CONSTRAINT webhook_deliveries_state_known CHECK (state IN ('pending', 'delivered', 'failed')),
    CONSTRAINT webhook_deliveries_webhook_fk FOREIGN KEY (webhook_id) REFERENCES webhooks (webhook_id) ON DELETE CASCADE
);

CREATE INDEX webhook_deliveries_pending_idx ON webhook_deliveries (next_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_webhook_created_at_idx ON webhook_deliveries (webhook_id, created_at DESC);
CREATE INDEX webhook_deliveries_ended_at_idx ON webhook_deliveries (ended_at) WHERE ended_at IS NOT NULL;

COMMENT ON TABLE webhook_deliveries IS 'What is to be sent to webhooks, and what was sent';
COMMENT ON COLUMN webhook_deliveries.webhook_id IS 'To which webhook';
COMMENT ON COLUMN webhook_deliveries.event_id IS 'The id of what happened; the webhook-id of the delivery';
COMMENT ON COLUMN webhook_deliveries.type IS 'The type of what happened';
COMMENT ON COLUMN webhook_deliveries.body IS 'What is sent';
COMMENT ON COLUMN webhook_deliveries.state IS 'Whether it is to be sent, was taken, or was given up';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'How often it was sent';
COMMENT ON COLUMN webhook_deliveries.next_at IS 'When it is sent next, or when whoever sends it now is given up';
COMMENT ON COLUMN webhook_deliveries.last_status IS 'The status of the last answer; null when there was none';
COMMENT ON COLUMN webhook_deliveries.last_error IS 'Why the last attempt failed';
COMMENT ON COLUMN webhook_deliveries.created_at IS 'When it was put into the queue';
COMMENT ON COLUMN webhook_deliveries.ended_at IS 'When it was taken or given up';

CREATE TABLE webhook_state (
    id boolean NOT NULL DEFAULT TRUE,
    place bigint NOT NULL,
    CONSTRAINT webhook_state_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_state_one_row CHECK (id)
);

COMMENT ON TABLE webhook_state IS 'One row: locked by whoever looks through the feed for webhooks';
COMMENT ON COLUMN webhook_state.id IS 'Always true';
COMMENT ON COLUMN webhook_state.place IS 'The last place of the feed that was looked at';

INSERT INTO webhook_state (place) VALUES (0);

DO $$
BEGIN
    IF to_regrole('headroom_app') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks, webhook_deliveries TO headroom_app;
        GRANT SELECT, UPDATE ON webhook_state TO headroom_app;
    END IF;
END
$$;
