-- What is known of uploaded files. format is the ending of the object's name. used_at is when something last was about to
-- refer to the file; a released one is about to be deleted, and cannot be referred to any more.
CREATE TABLE media (
    id            UUID PRIMARY KEY,
    uploader_id   UUID NOT NULL,
    format        TEXT NOT NULL,
    size_bytes    BIGINT NOT NULL,
    width         BIGINT,
    height        BIGINT,
    duration_ms   BIGINT,
    checksum      BYTEA NOT NULL,
    file_name     TEXT,
    has_thumbnail BOOLEAN NOT NULL,
    created_at    BIGINT NOT NULL,
    used_at       BIGINT NOT NULL,
    is_released   BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX media_by_use ON media (used_at, id);
-- Who shows a picture.
CREATE INDEX users_by_avatar ON users (avatar_url) WHERE avatar_url <> '';
CREATE INDEX groups_by_avatar ON groups (avatar_url) WHERE avatar_url <> '';
