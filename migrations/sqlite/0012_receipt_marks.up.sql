-- How far each user got with each chat. delivered_beyond lists what was delivered past delivered_up_to, as
-- "5-7,9-9".
CREATE TABLE receipt_marks (
    chat_id          BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    user_id          BLOB NOT NULL,
    delivered_up_to  INTEGER NOT NULL,
    delivered_beyond TEXT NOT NULL DEFAULT '',
    read_up_to       INTEGER NOT NULL,
    PRIMARY KEY (chat_id, user_id)
) WITHOUT ROWID, STRICT;
