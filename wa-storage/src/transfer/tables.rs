//! The one list of what is copied: every table with its columns and their types, in an order in which no row refers to one
//! that comes later. A test holds it against the migrations.

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Id,
    Int,
    Flag,
    Text,
    Bytes,
}

use Kind::{Bytes, Flag, Id, Int, Text};

/// A table that is copied row by row.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// How many of the first columns are the primary key.
    pub(super) key: usize,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Whether the database gives out the key by itself.
    pub(super) is_numbered: bool,
    /// Rows that are read and written at a time.
    pub(super) page: i64,
}

const fn table(name: &'static str, key: usize, columns: &'static [(&'static str, Kind)]) -> Table {
    Table { name, key, columns, is_numbered: false, page: 1000 }
}

pub(super) const TABLES: &[Table] = &[
    table(
        "users",
        1,
        &[
            ("id", Id),
            ("phone", Text),
            ("display_name", Text),
            ("avatar_url", Text),
            ("status_text", Text),
            ("last_seen", Int),
            ("is_deleted", Flag),
            ("created_at", Int),
            ("updated_at", Int),
        ],
    ),
    table(
        "contacts",
        1,
        &[("id", Id), ("user_id", Id), ("contact_id", Id), ("nickname", Text), ("is_contact", Flag), ("is_blocked", Flag), ("created_at", Int)],
    ),
    table(
        "chats",
        1,
        &[
            ("id", Id),
            ("type", Text),
            ("pair_key", Text),
            ("last_seq", Int),
            ("rev", Int),
            ("membership_version", Int),
            ("last_activity_at", Int),
            ("created_at", Int),
            ("updated_at", Int),
        ],
    ),
    table(
        "chat_participants",
        1,
        &[
            ("id", Id),
            ("chat_id", Id),
            ("user_id", Id),
            ("role", Text),
            ("is_muted", Flag),
            ("mute_until", Int),
            ("is_pinned", Flag),
            ("auto_delete_timer", Text),
            ("joined_at", Int),
            ("joined_seq", Int),
            ("left_seq", Int),
        ],
    ),
    table(
        "groups",
        1,
        &[
            ("chat_id", Id),
            ("name", Text),
            ("description", Text),
            ("avatar_url", Text),
            ("created_by", Id),
            ("is_admin_only", Flag),
            ("created_at", Int),
            ("updated_at", Int),
        ],
    ),
    table("group_invites", 1, &[("chat_id", Id), ("code_hash", Bytes), ("created_by", Id), ("created_at", Int)]),
    table("ended_groups", 1, &[("chat_id", Id), ("ended_at", Int)]),
    table(
        "sessions",
        1,
        &[("device_id", Id), ("user_id", Id), ("name", Text), ("platform", Text), ("created_at", Int), ("last_active_at", Int), ("revoked_at", Int)],
    ),
    table(
        "refresh_tokens",
        1,
        &[
            ("id", Id),
            ("user_id", Id),
            ("session_id", Id),
            ("token_hash", Text),
            ("expires_at", Int),
            ("revoked", Flag),
            ("rotated_at", Int),
            ("repeat_key", Text),
            ("created_at", Int),
        ],
    ),
    table(
        "device_tokens",
        1,
        &[
            ("id", Id),
            ("user_id", Id),
            ("device_id", Id),
            ("token", Text),
            ("platform", Text),
            ("p256dh", Text),
            ("auth", Text),
            ("created_at", Int),
            ("updated_at", Int),
        ],
    ),
    table(
        "privacy_settings",
        1,
        &[("user_id", Id), ("last_seen", Text), ("profile_photo", Text), ("about", Text), ("read_receipts", Flag), ("updated_at", Int)],
    ),
    Table {
        page: 250,
        ..table(
            "messages",
            2,
            &[
                ("chat_id", Id),
                ("seq", Int),
                ("rev", Int),
                ("message_id", Id),
                ("sender_id", Id),
                ("client_msg_id", Text),
                ("fingerprint", Bytes),
                ("type", Text),
                ("payload", Text),
                ("sender_payload", Text),
                ("reply_to", Id),
                ("forwarded_chat_id", Id),
                ("forwarded_message_id", Id),
                ("withheld_from", Id),
                ("edited_at", Int),
                ("sender_edited_at", Int),
                ("expires_at", Int),
                ("created_at", Int),
                ("updated_at", Int),
            ],
        )
    },
    table("hidden_messages", 3, &[("user_id", Id), ("chat_id", Id), ("seq", Int), ("message_id", Id), ("rev", Int), ("hidden_at", Int)]),
    table("receipt_marks", 2, &[("chat_id", Id), ("user_id", Id), ("delivered_up_to", Int), ("delivered_beyond", Text), ("read_up_to", Int)]),
    table("receipt_history", 4, &[("chat_id", Id), ("user_id", Id), ("status", Text), ("to_seq", Int), ("from_seq", Int), ("at", Int)]),
    table("reactions", 3, &[("chat_id", Id), ("seq", Int), ("user_id", Id), ("emoji", Text), ("withheld_from", Id), ("reacted_at", Int)]),
    table("stars", 3, &[("user_id", Id), ("chat_id", Id), ("seq", Int), ("message_id", Id), ("is_starred", Flag), ("rev", Int), ("starred_at", Int)]),
    table(
        "media",
        1,
        &[
            ("id", Id),
            ("uploader_id", Id),
            ("format", Text),
            ("size_bytes", Int),
            ("width", Int),
            ("height", Int),
            ("duration_ms", Int),
            ("checksum", Bytes),
            ("file_name", Text),
            ("has_thumbnail", Flag),
            ("created_at", Int),
            ("used_at", Int),
            ("is_released", Flag),
        ],
    ),
    table(
        "statuses",
        1,
        &[("id", Id), ("user_id", Id), ("content", Text), ("media_id", Id), ("caption", Text), ("bg_color", Text), ("created_at", Int), ("expires_at", Int)],
    ),
    table("status_viewers", 2, &[("status_id", Id), ("viewer_id", Id), ("viewed_at", Int)]),
    table(
        "push_queue",
        3,
        &[
            ("token_id", Id),
            ("chat_id", Id),
            ("kind", Text),
            ("is_web", Flag),
            ("done", Int),
            ("up_to", Int),
            ("by_user", Id),
            ("due_at", Int),
            ("noted_at", Int),
            ("attempts", Int),
        ],
    ),
    // A row may hold the events of a whole group of messages.
    Table { is_numbered: true, page: 8, ..table("outbox", 1, &[("id", Int), ("events", Text), ("created_at", Int)]) },
];

/// What is not copied, and why. A dot leads to a column.
#[cfg(test)]
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    ("outbox.deferred", "what is deferred is brought to its tables before the copy begins"),
    ("outbox.fingerprints", "they are those of deferred messages"),
    ("outbox_position", "it says what is deferred"),
    ("messages.media_id", "the database makes it of the payload"),
    ("search_chats", "the index is made of the messages"),
    ("search_expiring", "the index is made of the messages"),
    ("search_index", "the index is made of the messages"),
    ("health_probe", "it is about one database alone"),
    ("transfer", "it is about one database alone"),
];
