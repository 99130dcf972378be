-- One row that the health check writes, so that a full or read-only disk shows.
CREATE TABLE health_probe (
    id         INTEGER PRIMARY KEY,
    checked_at INTEGER NOT NULL
) STRICT;
