-- The log of every chat. payload is canonical JSON, and NULL once the message was deleted for everyone. sender_payload is
-- an edit that its sender alone sees.
CREATE TABLE messages (
    chat_id              BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq                  INTEGER NOT NULL,
    rev                  INTEGER NOT NULL,
    message_id           BLOB NOT NULL UNIQUE,
    sender_id            BLOB NOT NULL,
    client_msg_id        TEXT NOT NULL,
    fingerprint          BLOB NOT NULL,
    type                 TEXT NOT NULL,
    payload              TEXT,
    sender_payload       TEXT,
    reply_to             BLOB,
    forwarded_chat_id    BLOB,
    forwarded_message_id BLOB,
    withheld_from        BLOB,
    edited_at            INTEGER,
    sender_edited_at     INTEGER,
    expires_at           INTEGER,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    PRIMARY KEY (chat_id, seq),
    UNIQUE (sender_id, client_msg_id)
) WITHOUT ROWID, STRICT;
CREATE INDEX messages_by_rev ON messages (chat_id, rev);
CREATE INDEX messages_by_expiry ON messages (expires_at) WHERE expires_at IS NOT NULL;
