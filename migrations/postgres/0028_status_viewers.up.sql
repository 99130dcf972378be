-- Who has seen a status.
CREATE TABLE status_viewers (
    status_id UUID NOT NULL REFERENCES statuses (id) ON DELETE CASCADE,
    viewer_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    viewed_at BIGINT NOT NULL,
    PRIMARY KEY (status_id, viewer_id)
);
CREATE INDEX status_viewers_by_time ON status_viewers (status_id, viewed_at, viewer_id);
CREATE INDEX status_viewers_by_viewer ON status_viewers (viewer_id);
