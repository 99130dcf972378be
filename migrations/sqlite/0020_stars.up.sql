-- Messages a user starred. A star that was taken back keeps its row, so that the user's other devices learn of it; rev is
-- the value the change took of the chat.
CREATE TABLE stars (
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chat_id    BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    is_starred INTEGER NOT NULL,
    rev        INTEGER NOT NULL,
    starred_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, chat_id, seq)
) WITHOUT ROWID, STRICT;
CREATE INDEX stars_by_time ON stars (user_id, starred_at, message_id) WHERE is_starred;
CREATE INDEX stars_by_rev ON stars (chat_id, user_id, rev);
CREATE INDEX stars_by_message ON stars (chat_id, seq);
