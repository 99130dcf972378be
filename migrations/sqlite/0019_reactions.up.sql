-- One reaction of each user to each message. withheld_from never sees it.
CREATE TABLE reactions (
    chat_id       BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq           INTEGER NOT NULL,
    user_id       BLOB NOT NULL,
    emoji         TEXT NOT NULL,
    withheld_from BLOB,
    reacted_at    INTEGER NOT NULL,
    PRIMARY KEY (chat_id, seq, user_id)
) WITHOUT ROWID, STRICT;
