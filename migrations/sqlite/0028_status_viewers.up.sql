-- Who has seen a status.
CREATE TABLE status_viewers (
    status_id BLOB NOT NULL REFERENCES statuses (id) ON DELETE CASCADE,
    viewer_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    viewed_at INTEGER NOT NULL,
    PRIMARY KEY (status_id, viewer_id)
) WITHOUT ROWID, STRICT;
CREATE INDEX status_viewers_by_time ON status_viewers (status_id, viewed_at, viewer_id);
CREATE INDEX status_viewers_by_viewer ON status_viewers (viewer_id);
