-- Refresh tokens, as SHA-256 only. rotated_at is set once a token was exchanged; repeat_key is the hash of the
-- Idempotency-Key under which that happened.
CREATE TABLE refresh_tokens (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_id BLOB NOT NULL REFERENCES sessions (device_id) ON DELETE CASCADE,
    token_hash TEXT NOT NULL UNIQUE,
    expires_at INTEGER NOT NULL,
    revoked    INTEGER NOT NULL DEFAULT FALSE,
    rotated_at INTEGER,
    repeat_key TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);
