-- The invite of a group: the SHA-256 of its code. A new one takes the place of the one before.
CREATE TABLE group_invites (
    chat_id    BLOB PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    code_hash  BLOB NOT NULL UNIQUE,
    created_by BLOB REFERENCES users (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL
) STRICT;
