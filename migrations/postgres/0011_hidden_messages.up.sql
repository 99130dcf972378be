-- Messages deleted for one user alone. rev is the value the change took of the chat.
CREATE TABLE hidden_messages (
    user_id    UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chat_id    UUID NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq        BIGINT NOT NULL,
    message_id UUID NOT NULL,
    rev        BIGINT NOT NULL,
    hidden_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, chat_id, seq)
);
CREATE INDEX hidden_messages_by_rev ON hidden_messages (chat_id, user_id, rev);
CREATE INDEX hidden_messages_by_place ON hidden_messages (chat_id, seq);
