-- Messages deleted for one user alone. rev is the value the change took of the chat.
CREATE TABLE hidden_messages (
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chat_id    BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    rev        INTEGER NOT NULL,
    hidden_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, chat_id, seq)
) WITHOUT ROWID, STRICT;
CREATE INDEX hidden_messages_by_rev ON hidden_messages (chat_id, user_id, rev);
CREATE INDEX hidden_messages_by_place ON hidden_messages (chat_id, seq);
