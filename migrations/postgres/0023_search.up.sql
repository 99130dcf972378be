-- What messages are found by. search_chats gives every chat a number, and says up to which rev and seq its messages are in
-- search_index, whose rowid is number * 2^32 + seq and whose words each begin with the number: a search reads only what
-- belongs to the chats it is for. search_expiring names the rows to be taken out when their message expires.
CREATE TABLE search_chats (
    number   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chat_id  UUID NOT NULL UNIQUE,
    rev      BIGINT NOT NULL DEFAULT 0,
    last_seq BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE search_expiring (
    expires_at BIGINT NOT NULL,
    id         BIGINT NOT NULL,
    PRIMARY KEY (expires_at, id)
);
CREATE TABLE search_index (
    rowid BIGINT PRIMARY KEY,
    words TSVECTOR NOT NULL
);
CREATE INDEX search_index_by_word ON search_index USING gin (words);
