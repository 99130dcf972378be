-- One row, if this database was copied from another one: which, and a hash by which the copy knows it again. The copy is
-- under way until finished_at is set, and until then no server starts here.
CREATE TABLE transfer (
    id          BIGINT PRIMARY KEY CHECK (id = 1),
    source      TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT
);
