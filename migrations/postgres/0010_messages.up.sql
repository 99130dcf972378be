-- The log of every chat. payload is canonical JSON, and NULL once the message was deleted for everyone. sender_payload is
-- an edit that its sender alone sees.
CREATE TABLE messages (
    chat_id              UUID NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq                  BIGINT NOT NULL,
    rev                  BIGINT NOT NULL,
    message_id           UUID NOT NULL UNIQUE,
    sender_id            UUID NOT NULL,
    client_msg_id        VARCHAR(128) NOT NULL,
    fingerprint          BYTEA NOT NULL,
    type                 VARCHAR(10) NOT NULL,
    payload              TEXT,
    sender_payload       TEXT,
    reply_to             UUID,
    forwarded_chat_id    UUID,
    forwarded_message_id UUID,
    withheld_from        UUID,
    edited_at            BIGINT,
    sender_edited_at     BIGINT,
    expires_at           BIGINT,
    created_at           BIGINT NOT NULL,
    updated_at           BIGINT NOT NULL,
    PRIMARY KEY (chat_id, seq),
    UNIQUE (sender_id, client_msg_id)
);
CREATE INDEX messages_by_rev ON messages (chat_id, rev);
CREATE INDEX messages_by_expiry ON messages (expires_at) WHERE expires_at IS NOT NULL;
