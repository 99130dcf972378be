-- Who is or was in a chat: what is above joined_seq can be seen, left_seq is set on leaving.
CREATE TABLE chat_participants (
    id                BLOB PRIMARY KEY,
    chat_id           BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    user_id           BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role              TEXT NOT NULL DEFAULT 'member' CHECK (role IN ('admin', 'member')),
    is_muted          INTEGER NOT NULL DEFAULT FALSE,
    mute_until        INTEGER,
    is_pinned         INTEGER NOT NULL DEFAULT FALSE,
    auto_delete_timer TEXT NOT NULL DEFAULT 'off' CHECK (auto_delete_timer IN ('off', '24h', '7d', '90d')),
    joined_at         INTEGER NOT NULL,
    joined_seq        INTEGER NOT NULL DEFAULT 0,
    left_seq          INTEGER,
    UNIQUE (chat_id, user_id)
) STRICT;
CREATE INDEX chat_participants_by_user ON chat_participants (user_id);
