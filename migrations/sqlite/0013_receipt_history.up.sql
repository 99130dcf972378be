-- When marks rose, one row per run of places; runs of one user and status never overlap.
CREATE TABLE receipt_history (
    chat_id  BLOB NOT NULL,
    user_id  BLOB NOT NULL,
    status   TEXT NOT NULL CHECK (status IN ('delivered', 'read')),
    to_seq   INTEGER NOT NULL,
    from_seq INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (chat_id, user_id, status, to_seq)
) WITHOUT ROWID, STRICT;
