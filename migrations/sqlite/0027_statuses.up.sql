-- What people show their contacts for a day. A text is in content; a picture is an uploaded file.
CREATE TABLE statuses (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    content    TEXT NOT NULL,
    media_id   BLOB,
    caption    TEXT NOT NULL,
    bg_color   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX statuses_by_user ON statuses (user_id, created_at, id);
CREATE INDEX statuses_by_expiry ON statuses (expires_at);
CREATE INDEX statuses_by_media ON statuses (media_id) WHERE media_id IS NOT NULL;
