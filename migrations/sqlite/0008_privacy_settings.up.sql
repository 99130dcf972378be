-- Users without a row have the defaults.
CREATE TABLE privacy_settings (
    user_id       BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    last_seen     TEXT NOT NULL DEFAULT 'everyone' CHECK (last_seen IN ('everyone', 'contacts', 'nobody')),
    profile_photo TEXT NOT NULL DEFAULT 'everyone' CHECK (profile_photo IN ('everyone', 'contacts', 'nobody')),
    about         TEXT NOT NULL DEFAULT 'everyone' CHECK (about IN ('everyone', 'contacts', 'nobody')),
    read_receipts INTEGER NOT NULL DEFAULT TRUE,
    updated_at    INTEGER NOT NULL
) STRICT;
