-- Events of committed transactions on their way to the bus, one row per transaction, in the order of their ids.
CREATE TABLE outbox (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    events     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
