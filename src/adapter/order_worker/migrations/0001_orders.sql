-- Beside tables that services in Node have made: what is there stays as it is.

CREATE TABLE IF NOT EXISTS rosreestr_users (
    id SERIAL PRIMARY KEY,
    username VARCHAR(255) NOT NULL UNIQUE,
    password_encrypted TEXT NOT NULL,
    gu_login VARCHAR(255),
    comment VARCHAR(500),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    deleted_at TIMESTAMPTZ
);
ALTER TABLE rosreestr_users ADD COLUMN IF NOT EXISTS gu_login VARCHAR(255);
ALTER TABLE rosreestr_users ALTER COLUMN gu_login DROP NOT NULL;
ALTER TABLE rosreestr_users ADD COLUMN IF NOT EXISTS comment VARCHAR(500);
ALTER TABLE rosreestr_users ADD COLUMN IF NOT EXISTS deleted_at TIMESTAMPTZ;
ALTER TABLE rosreestr_users ADD COLUMN IF NOT EXISTS is_active BOOLEAN NOT NULL DEFAULT true;
-- The cookies of a session that somebody has opened in a browser, sealed.
ALTER TABLE rosreestr_users ADD COLUMN IF NOT EXISTS session_encrypted TEXT;

CREATE TABLE IF NOT EXISTS orders (
    id SERIAL PRIMARY KEY,
    user_id INTEGER NOT NULL,
    cad_num VARCHAR(255) NOT NULL,
    rosreestr_order_num VARCHAR(255),
    recipient_name VARCHAR(255),
    status VARCHAR(255) NOT NULL DEFAULT 'Добавлен в очередь',
    is_complete BOOLEAN NOT NULL DEFAULT false,
    comment VARCHAR(255),
    rosreestr_registration_started_at TIMESTAMPTZ,
    rosreestr_registered_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    deleted_at TIMESTAMPTZ
);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS rosreestr_order_num VARCHAR(255);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS rosreestr_registration_started_at TIMESTAMPTZ;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS rosreestr_registered_at TIMESTAMPTZ;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS completed_at TIMESTAMPTZ;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS deleted_at TIMESTAMPTZ;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS rosreestr_user_id INTEGER;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS last_checked_at TIMESTAMPTZ;
CREATE INDEX IF NOT EXISTS orders_failed ON orders (updated_at) WHERE status LIKE 'Ошибка:%';

-- What was ordered for money. A row without a number was begun: whether the order was
-- placed is only known where it was to be placed.
CREATE TABLE IF NOT EXISTS rosreestr_placements (
    order_id INTEGER PRIMARY KEY,
    rosreestr_user_id INTEGER NOT NULL,
    draft TEXT NOT NULL,
    order_num VARCHAR(255),
    begun_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    placed_at TIMESTAMPTZ
);

CREATE TABLE IF NOT EXISTS rosreestr_files (
    order_id INTEGER PRIMARY KEY,
    order_num VARCHAR(255) NOT NULL,
    content BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- The salt of this installation, for secrets that are passphrases.
CREATE TABLE IF NOT EXISTS crypto_meta (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    salt BYTEA NOT NULL
);
