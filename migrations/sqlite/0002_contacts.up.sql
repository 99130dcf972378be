-- Address books and blocks in one table: a row with is_contact false is a block alone.
CREATE TABLE contacts (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    contact_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    nickname   TEXT NOT NULL DEFAULT '',
    is_contact INTEGER NOT NULL DEFAULT TRUE,
    is_blocked INTEGER NOT NULL DEFAULT FALSE,
    created_at INTEGER NOT NULL,
    UNIQUE (user_id, contact_id)
) STRICT;
CREATE INDEX contacts_by_contact ON contacts (contact_id);
