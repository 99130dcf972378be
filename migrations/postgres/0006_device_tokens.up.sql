-- Where pushes go. device_id is the login a token ends with; p256dh and auth are the keys of a browser's subscription.
CREATE TABLE device_tokens (
    id         UUID PRIMARY KEY,
    user_id    UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_id  UUID NOT NULL,
    token      TEXT NOT NULL UNIQUE,
    platform   VARCHAR(10) NOT NULL DEFAULT 'android' CHECK (platform IN ('android', 'ios', 'web')),
    p256dh     TEXT,
    auth       TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX device_tokens_by_user ON device_tokens (user_id);
