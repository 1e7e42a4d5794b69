-- Apps, their keys, and the counter by which running servers notice changes.
-- The same text is understood by SQLite and PostgreSQL. Times are milliseconds
-- of Unix time; truths are 0 and 1.

CREATE TABLE fanfare_apps (
    id TEXT PRIMARY KEY,
    enabled BIGINT NOT NULL,
    -- The keys of [[apps]] in the configuration file as JSON, without those that
    -- have columns of their own.
    settings TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- The value of the counter at the last change.
    revision BIGINT NOT NULL
);

CREATE INDEX fanfare_apps_by_revision ON fanfare_apps (revision);

CREATE TABLE fanfare_app_keys (
    app_key TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES fanfare_apps (id) ON DELETE CASCADE,
    -- Sealed, when there is a master key.
    secret TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE INDEX fanfare_app_keys_by_app ON fanfare_app_keys (app_id);

CREATE TABLE fanfare_deleted_apps (
    id TEXT PRIMARY KEY,
    revision BIGINT NOT NULL
);

-- One row. A change takes its lock first, so that changes become visible in the
-- order of their numbers.
CREATE TABLE fanfare_revision (
    one BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
);

INSERT INTO fanfare_revision (one, revision) VALUES (1, 0);
