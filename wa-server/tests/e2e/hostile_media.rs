//! One file of each kind that was made to do harm, uploaded to a real server: it is refused with the right code, or handed out
//! as nothing but what it was taken for.

use std::collections::BTreeSet;

use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use wa_core::media::MediaKind;
use wa_storage::conformance::hostile_media::{Fate, hostile_media};

use crate::media::try_upload;
use crate::support::{TestServer, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_files_are_refused_or_made_harmless() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut seen = BTreeSet::new();
    for file in hostile_media() {
        // Files of one name differ in where they were cut alone. An empty one is a missing one.
        if !seen.insert((file.name, file.declared)) || file.bytes.is_empty() {
            continue;
        }
        let answer = try_upload(&alice, file.declared.as_str(), "../../photo\u{202e}gpj.exe", file.bytes).await;
        match (file.fate, answer.status) {
            (Fate::Refused, _) | (Fate::RefusedOrHarmless(_), 400) => _ = answer.refused(400, "MEDIA_INVALID_TYPE"),
            (Fate::TooLarge, _) => _ = answer.refused(413, "MEDIA_TOO_LARGE"),
            (Fate::Harmless(format) | Fate::RefusedOrHarmless(format), _) => {
                let media = answer.ok(201);
                assert_eq!(media["mime_type"], format.mime(), "{}", file.name);
                let handed_out = http().get(media["url"].as_str().expect("an address")).send().await.expect("an answer");
                let header = |name| handed_out.headers().get(&name).and_then(|value| value.to_str().ok()).unwrap_or_else(|| panic!("{}: {name}", file.name));
                assert!(header(CONTENT_TYPE).starts_with(format.mime()), "{}", file.name);
                assert_eq!(header(X_CONTENT_TYPE_OPTIONS), "nosniff", "{}", file.name);
                let disposition = header(CONTENT_DISPOSITION);
                assert!(!disposition.contains("..") && !disposition.contains(['/', '\\', '\n']), "{}: {disposition}", file.name);
                assert_eq!(disposition.starts_with("attachment"), format.kind() == MediaKind::Document, "{}: {disposition}", file.name);
            }
        }
    }
    assert!(seen.len() > 300, "only {} files", seen.len());
}
