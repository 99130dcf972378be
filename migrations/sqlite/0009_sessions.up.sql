-- One row per device that logged in; refresh_tokens.session_id names it.
CREATE TABLE sessions (
    device_id      BLOB PRIMARY KEY,
    user_id        BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name           TEXT NOT NULL DEFAULT '',
    platform       TEXT,
    created_at     INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    revoked_at     INTEGER
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);
