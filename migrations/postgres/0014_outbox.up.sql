-- Events of committed transactions on their way to the bus, one row per transaction, in the order of their ids. The first
-- `deferred` of them are messages and receipts that are stored here and brought to their tables later (SQLite alone);
-- `fingerprints` holds those of the messages among them, 16 bytes each.
CREATE TABLE outbox (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    events       TEXT NOT NULL,
    deferred     BIGINT NOT NULL DEFAULT 0,
    fingerprints BYTEA NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL
);

-- One row: up to which row of the outbox everything deferred has been brought to its tables.
CREATE TABLE outbox_position (
    id      BIGINT PRIMARY KEY CHECK (id = 1),
    applied BIGINT NOT NULL
);
INSERT INTO outbox_position (id, applied) VALUES (1, 0);
