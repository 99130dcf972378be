-- Accounts. An erased account keeps its row as a tombstone: the messages it sent name it.
CREATE TABLE users (
    id           UUID PRIMARY KEY,
    phone        VARCHAR(20) UNIQUE,
    display_name VARCHAR(64) NOT NULL DEFAULT '',
    avatar_url   TEXT NOT NULL DEFAULT '',
    status_text  VARCHAR(140) NOT NULL DEFAULT 'Hey there! I am using WhatsApp.',
    last_seen    BIGINT,
    is_deleted   BOOLEAN NOT NULL DEFAULT FALSE,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
