-- Groups whose last member has left: nobody sees them, and their rows are deleted a few at a time.
CREATE TABLE ended_groups (
    chat_id  BLOB PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    ended_at INTEGER NOT NULL
) STRICT;
