//! Page cursors: any text is read or refused, and what is read is written the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wa_core::{chat::ChatCursor, id::UserId};

fuzz_target!(|text: &str| {
    let owner = UserId::from_uuid(uuid::Uuid::nil());
    if let Some(cursor) = ChatCursor::decode(text, owner) {
        assert_eq!(cursor.encode(owner), text);
    }
});
