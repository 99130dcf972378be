-- One row that the health check writes, so that a full or read-only disk shows.
CREATE TABLE health_probe (
    id         BIGINT PRIMARY KEY,
    checked_at BIGINT NOT NULL
);
