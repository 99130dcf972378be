-- The invite of a group: the SHA-256 of its code. A new one takes the place of the one before.
CREATE TABLE group_invites (
    chat_id    UUID PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    code_hash  BYTEA NOT NULL UNIQUE,
    created_by UUID REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL
);
