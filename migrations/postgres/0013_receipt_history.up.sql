-- When marks rose, one row per run of places; runs of one user and status never overlap.
CREATE TABLE receipt_history (
    chat_id  UUID NOT NULL,
    user_id  UUID NOT NULL,
    status   VARCHAR(10) NOT NULL CHECK (status IN ('delivered', 'read')),
    to_seq   BIGINT NOT NULL,
    from_seq BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (chat_id, user_id, status, to_seq)
);
