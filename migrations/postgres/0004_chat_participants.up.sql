-- Who is or was in a chat: what is above joined_seq can be seen, left_seq is set on leaving.
CREATE TABLE chat_participants (
    id                UUID PRIMARY KEY,
    chat_id           UUID NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    user_id           UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role              VARCHAR(10) NOT NULL DEFAULT 'member' CHECK (role IN ('admin', 'member')),
    is_muted          BOOLEAN NOT NULL DEFAULT FALSE,
    mute_until        BIGINT,
    is_pinned         BOOLEAN NOT NULL DEFAULT FALSE,
    auto_delete_timer VARCHAR(3) NOT NULL DEFAULT 'off' CHECK (auto_delete_timer IN ('off', '24h', '7d', '90d')),
    joined_at         BIGINT NOT NULL,
    joined_seq        BIGINT NOT NULL DEFAULT 0,
    left_seq          BIGINT,
    UNIQUE (chat_id, user_id)
);
CREATE INDEX chat_participants_by_user ON chat_participants (user_id);
