-- Who may operate the server: accounts, their sessions in the console, and what was
-- changed by whom. Times are milliseconds of Unix time.

CREATE TABLE fanfare_accounts (
    name TEXT PRIMARY KEY,
    -- admin or viewer.
    role TEXT NOT NULL,
    -- As argon2 writes it, with its parameters and its salt.
    password TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE fanfare_console_sessions (
    -- The SHA-256 of what the browser keeps.
    digest TEXT PRIMARY KEY,
    -- Empty: nobody signed in, because nobody has to.
    account TEXT NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE INDEX fanfare_console_sessions_by_end ON fanfare_console_sessions (expires_ms);

CREATE TABLE fanfare_audit (
    -- Ordered by time.
    id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT
);

CREATE INDEX fanfare_audit_by_age ON fanfare_audit (at_ms);
