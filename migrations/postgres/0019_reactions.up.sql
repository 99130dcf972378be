-- One reaction of each user to each message. withheld_from never sees it.
CREATE TABLE reactions (
    chat_id       UUID NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq           BIGINT NOT NULL,
    user_id       UUID NOT NULL,
    emoji         VARCHAR(32) NOT NULL,
    withheld_from UUID,
    reacted_at    BIGINT NOT NULL,
    PRIMARY KEY (chat_id, seq, user_id)
);
