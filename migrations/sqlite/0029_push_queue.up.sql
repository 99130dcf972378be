-- Pushes that wait, and what was pushed: one row for each token, chat and kind. Everything up to `done` was told, up to
-- `up_to` something is to be told, at due_at; nothing waits where that is NULL. The numbers are places of messages, or
-- revisions of the chat at which its user was added.
CREATE TABLE push_queue (
    token_id BLOB NOT NULL REFERENCES device_tokens (id) ON DELETE CASCADE,
    chat_id  BLOB NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    kind     TEXT NOT NULL CHECK (kind IN ('messages', 'added')),
    is_web   INTEGER NOT NULL,
    done     INTEGER NOT NULL,
    up_to    INTEGER NOT NULL,
    by_user  BLOB,
    due_at   INTEGER,
    noted_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (token_id, chat_id, kind)
) WITHOUT ROWID, STRICT;
CREATE INDEX push_queue_due ON push_queue (is_web, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX push_queue_by_chat ON push_queue (chat_id);
