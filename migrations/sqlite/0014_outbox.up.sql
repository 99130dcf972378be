-- Events of committed transactions on their way to the bus, one row per transaction, in the order of their ids.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    events     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
