-- Accounts. An erased account keeps its row as a tombstone: the messages it sent name it.
CREATE TABLE users (
    id           BLOB PRIMARY KEY,
    phone        TEXT UNIQUE,
    display_name TEXT NOT NULL DEFAULT '',
    avatar_url   TEXT NOT NULL DEFAULT '',
    status_text  TEXT NOT NULL DEFAULT 'Hey there! I am using WhatsApp.',
    last_seen    INTEGER,
    is_deleted   INTEGER NOT NULL DEFAULT FALSE,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
