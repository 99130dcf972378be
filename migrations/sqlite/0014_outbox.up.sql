-- Events of committed transactions on their way to the bus, one row per transaction, in the order of their ids. The first
-- `deferred` of them are messages and receipts that are stored here and brought to their tables later; `fingerprints`
-- holds those of the messages among them, 16 bytes each.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    events       TEXT NOT NULL,
    deferred     INTEGER NOT NULL DEFAULT 0,
    fingerprints BLOB NOT NULL DEFAULT x'',
    created_at   INTEGER NOT NULL
) STRICT;

-- One row: up to which row of the outbox everything deferred has been brought to its tables.
CREATE TABLE outbox_position (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    applied INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_position (id, applied) VALUES (1, 0);
