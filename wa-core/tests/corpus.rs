//! Replays the fuzzers' corpus of cursors and tokens (`fuzz/corpus`) through the parsers, as `fuzz/fuzz_targets` do, and
//! checks that each seed comes out as its name says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use wa_core::chat::ChatCursor;
use wa_core::id::UserId;
use wa_core::service::TokenSigner;
use wa_core::session::RefreshToken;
use wa_core::time::Timestamp;

/// The seeds of a target by file name. A seed that is no text cannot reach these parsers.
fn corpus(target: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("is listed").path();
        if let Ok(text) = String::from_utf8(std::fs::read(&path).expect("is readable")) {
            seeds.insert(path.file_name().expect("is a file").to_string_lossy().into_owned(), text);
        }
    }
    assert!(seeds.len() > 10, "the corpus of {target} is in place");
    seeds
}

#[test]
fn cursors_are_read_or_refused() {
    let owner = UserId::from_uuid(uuid::Uuid::nil());
    for (name, text) in corpus("cursors") {
        let cursor = ChatCursor::decode(&text, owner);
        if let Some(cursor) = cursor {
            assert_eq!(cursor.encode(owner), text, "{name}");
        }
        assert_eq!(cursor.is_some(), name.starts_with("valid"), "{name}");
    }
}

#[test]
fn tokens_are_read_or_refused() {
    let signer = TokenSigner::new("wa", b"the corpus is signed with this key", &[], Duration::from_secs(900));
    for (name, text) in corpus("tokens") {
        let code = signer.read(&text, Timestamp::from_millis(1_767_225_600_000)).map_or_else(|error| error.code(), |_| "valid");
        let expected = match name.as_str() {
            name if name.starts_with("valid") => "valid",
            // What else the header says is of no concern to who holds the key.
            "header_with_x5c" | "deeply_nested" => code,
            "expired" => "TOKEN_EXPIRED",
            _ => "TOKEN_INVALID",
        };
        assert_eq!(code, expected, "{name}");
        let refresh = RefreshToken::parse(&text);
        assert_eq!(refresh.is_some(), name == "refresh_token", "{name}");
        assert!(refresh.is_none_or(|token| token.reveal() == text), "{name}");
    }
}
