-- What a group has beyond a chat.
CREATE TABLE groups (
    chat_id       BLOB PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL DEFAULT '',
    avatar_url    TEXT NOT NULL DEFAULT '',
    created_by    BLOB REFERENCES users (id) ON DELETE SET NULL,
    is_admin_only INTEGER NOT NULL DEFAULT FALSE,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;
