-- What messages are found by. search_chats gives every chat a number, and says up to which rev and seq its messages are in
-- search_index, whose rowid is number * 2^32 + seq and whose words each begin with the number: a search reads only what
-- belongs to the chats it is for. search_expiring names the rows to be taken out when their message expires.
CREATE TABLE search_chats (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    chat_id  BLOB NOT NULL UNIQUE,
    rev      INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE search_expiring (
    expires_at INTEGER NOT NULL,
    id         INTEGER NOT NULL,
    PRIMARY KEY (expires_at, id)
) WITHOUT ROWID, STRICT;
CREATE VIRTUAL TABLE search_index USING fts5 (words, tokenize = 'ascii', content = '', contentless_delete = 1, prefix = '7 8');
