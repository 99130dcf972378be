//! Access and refresh tokens: any text is read or refused, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wa_core::{service::TokenSigner, session::RefreshToken, time::Timestamp};

fuzz_target!(|text: &str| {
    let signer = TokenSigner::new("wa", b"the corpus is signed with this key", &[], std::time::Duration::from_secs(900));
    let _ = signer.read(text, Timestamp::from_millis(1_767_225_600_000));
    if let Some(token) = RefreshToken::parse(text) {
        assert_eq!(token.reveal(), text);
    }
});
