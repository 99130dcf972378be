-- Chats, with the counters that order their log. membership_version counts the changes to who may do what.
CREATE TABLE chats (
    id                 BLOB PRIMARY KEY,
    type               TEXT NOT NULL CHECK (type IN ('direct', 'group')),
    pair_key           TEXT UNIQUE,
    last_seq           INTEGER NOT NULL DEFAULT 0,
    rev                INTEGER NOT NULL DEFAULT 0,
    membership_version INTEGER NOT NULL DEFAULT 1,
    last_activity_at   INTEGER NOT NULL,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    CHECK ((type = 'direct') = (pair_key IS NOT NULL))
) STRICT;
