-- What is known of uploaded files. format is the ending of the object's name. used_at is when something last was about to
-- refer to the file; a released one is about to be deleted, and cannot be referred to any more.
CREATE TABLE media (
    id            BLOB PRIMARY KEY,
    uploader_id   BLOB NOT NULL,
    format        TEXT NOT NULL,
    size_bytes    INTEGER NOT NULL,
    width         INTEGER,
    height        INTEGER,
    duration_ms   INTEGER,
    checksum      BLOB NOT NULL,
    file_name     TEXT,
    has_thumbnail INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    used_at       INTEGER NOT NULL,
    is_released   INTEGER NOT NULL DEFAULT FALSE
) STRICT;
CREATE INDEX media_by_use ON media (used_at, id);
-- Who shows a picture.
CREATE INDEX users_by_avatar ON users (avatar_url) WHERE avatar_url <> '';
CREATE INDEX groups_by_avatar ON groups (avatar_url) WHERE avatar_url <> '';
