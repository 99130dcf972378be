-- Pushes that wait, and what was pushed: one row for each token, chat and kind. Everything up to `done` was told, up to
-- `up_to` something is to be told, at due_at; nothing waits where that is NULL. The numbers are places of messages, or
-- revisions of the chat at which its user was added.
CREATE TABLE push_queue (
    token_id UUID NOT NULL REFERENCES device_tokens (id) ON DELETE CASCADE,
    chat_id  UUID NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    kind     VARCHAR(10) NOT NULL CHECK (kind IN ('messages', 'added')),
    is_web   BOOLEAN NOT NULL,
    done     BIGINT NOT NULL,
    up_to    BIGINT NOT NULL,
    by_user  UUID,
    due_at   BIGINT,
    noted_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (token_id, chat_id, kind)
);
CREATE INDEX push_queue_due ON push_queue (is_web, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX push_queue_by_chat ON push_queue (chat_id);
