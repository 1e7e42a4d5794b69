-- Statistics: what each app did in each minute and hour on each node; `*` stands
-- for all apps. And the messages of each day, for the daily quota.

CREATE TABLE fanfare_usage (
    -- The length of the span: 60 or 3600.
    span_s BIGINT NOT NULL,
    app_id TEXT NOT NULL,
    -- When it began, in seconds of Unix time.
    start_s BIGINT NOT NULL,
    node TEXT NOT NULL,
    connections_peak BIGINT NOT NULL,
    connections BIGINT NOT NULL,
    channels BIGINT NOT NULL,
    messages_sent BIGINT NOT NULL,
    messages_received BIGINT NOT NULL,
    sent_bytes BIGINT NOT NULL,
    received_bytes BIGINT NOT NULL,
    api_requests BIGINT NOT NULL,
    api_events BIGINT NOT NULL,
    client_events BIGINT NOT NULL,
    rate_refusals BIGINT NOT NULL,
    quota_messages BIGINT NOT NULL,
    webhooks_delivered BIGINT NOT NULL,
    webhooks_retried BIGINT NOT NULL,
    webhooks_failed BIGINT NOT NULL,
    PRIMARY KEY (span_s, app_id, start_s, node)
);

CREATE INDEX fanfare_usage_by_age ON fanfare_usage (span_s, start_s);

CREATE TABLE fanfare_days (
    -- Days since 1970, in UTC.
    day BIGINT NOT NULL,
    app_id TEXT NOT NULL,
    messages BIGINT NOT NULL,
    PRIMARY KEY (day, app_id)
);
