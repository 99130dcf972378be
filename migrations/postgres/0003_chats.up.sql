-- Chats, with the counters that order their log. membership_version counts the changes to who may do what.
CREATE TABLE chats (
    id                 UUID PRIMARY KEY,
    type               VARCHAR(10) NOT NULL CHECK (type IN ('direct', 'group')),
    pair_key           VARCHAR(73) UNIQUE,
    last_seq           BIGINT NOT NULL DEFAULT 0,
    rev                BIGINT NOT NULL DEFAULT 0,
    membership_version BIGINT NOT NULL DEFAULT 1,
    last_activity_at   BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    CHECK ((type = 'direct') = (pair_key IS NOT NULL))
);
