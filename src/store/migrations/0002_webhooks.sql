-- Webhook requests: the queue that survives a restart, and the log of what
-- became of them.

CREATE TABLE fanfare_webhooks (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL,
    webhook_id TEXT NOT NULL,
    url TEXT NOT NULL,
    -- Encoded events with commas between them.
    events TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- waiting, delivered, given_up, refused or dropped.
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- Of the last attempt.
    status BIGINT,
    latency_ms BIGINT,
    error TEXT,
    updated_ms BIGINT NOT NULL,
    -- The server that sends it, and until when it has promised to.
    owner TEXT NOT NULL,
    lease_ms BIGINT NOT NULL
);

CREATE INDEX fanfare_webhooks_by_lease ON fanfare_webhooks (state, lease_ms);
CREATE INDEX fanfare_webhooks_by_app ON fanfare_webhooks (app_id, created_ms);
