-- One row per device that logged in; refresh_tokens.session_id names it.
CREATE TABLE sessions (
    device_id      UUID PRIMARY KEY,
    user_id        UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name           TEXT NOT NULL DEFAULT '',
    platform       TEXT,
    created_at     BIGINT NOT NULL,
    last_active_at BIGINT NOT NULL,
    revoked_at     BIGINT
);
CREATE INDEX sessions_by_user ON sessions (user_id);
ALTER TABLE refresh_tokens ADD CONSTRAINT refresh_tokens_session FOREIGN KEY (session_id) REFERENCES sessions (device_id) ON DELETE CASCADE;
