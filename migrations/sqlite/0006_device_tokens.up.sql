-- Where pushes go. device_id is the login a token ends with; p256dh and auth are the keys of a browser's subscription.
CREATE TABLE device_tokens (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_id  BLOB NOT NULL,
    token      TEXT NOT NULL UNIQUE,
    platform   TEXT NOT NULL DEFAULT 'android' CHECK (platform IN ('android', 'ios', 'web')),
    p256dh     TEXT,
    auth       TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX device_tokens_by_user ON device_tokens (user_id);
