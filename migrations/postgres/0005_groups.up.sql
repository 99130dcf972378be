-- What a group has beyond a chat.
CREATE TABLE groups (
    chat_id       UUID PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    name          VARCHAR(100) NOT NULL,
    description   VARCHAR(512) NOT NULL DEFAULT '',
    avatar_url    TEXT NOT NULL DEFAULT '',
    created_by    UUID REFERENCES users (id) ON DELETE SET NULL,
    is_admin_only BOOLEAN NOT NULL DEFAULT FALSE,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
