-- Address books and blocks in one table: a row with is_contact false is a block alone.
CREATE TABLE contacts (
    id         UUID PRIMARY KEY,
    user_id    UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    contact_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    nickname   VARCHAR(64) NOT NULL DEFAULT '',
    is_contact BOOLEAN NOT NULL DEFAULT TRUE,
    is_blocked BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, contact_id)
);
CREATE INDEX contacts_by_contact ON contacts (contact_id);
