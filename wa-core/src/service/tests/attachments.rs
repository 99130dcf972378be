//! Files in messages: few look-ups, fresh addresses, and messages that go out whatever becomes of their files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::mocks::{MockBlobStore, MockMediaStore};
use super::{ALICE, attachments, down, env, message};
use crate::id::MediaId;
use crate::limits::Limits;
use crate::media::{Checksum, Format, Media};
use crate::message::{Content, MessageKind, MessageView, Picture};
use crate::ports::Env as _;
use crate::receipt::Status;
use crate::service::Attachments;
use crate::testing::SimEnv;

fn id(number: u32) -> MediaId {
    MediaId::from_uuid(Uuid::from_u128(u128::from(number)))
}

/// A message that shows the file of this number.
fn showing(number: u32) -> MessageView {
    let mut message = message(number, ALICE);
    message.content = Some(Content::Image(Picture { media_id: id(number), caption: None }));
    message.kind = MessageKind::Image;
    MessageView::of(&message, Status::Sent, None)
}

/// Files that all exist, and how often they were looked up and their addresses made.
fn counted(env: &Arc<SimEnv>, limits: Limits) -> (Arc<Attachments>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (looked_up, signed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (mut media, mut blobs) = (MockMediaStore::new(), MockBlobStore::new());
    let (count, at) = (Arc::clone(&looked_up), env.now());
    media.expect_get().returning(move |ids| {
        count.fetch_add(1, Ordering::Relaxed);
        let file = |id: &MediaId| Media {
            id: *id,
            uploader_id: ALICE,
            format: Format::Png,
            size_bytes: 7,
            width: Some(3),
            height: Some(2),
            duration_ms: None,
            checksum: Checksum([0; 32]),
            file_name: None,
            has_thumbnail: true,
            created_at: at,
        };
        Ok(ids.iter().map(file).collect())
    });
    let count = Arc::clone(&signed);
    blobs.expect_presign().returning(move |key, _| Ok(format!("https://files.example/{key}?{}", count.fetch_add(1, Ordering::Relaxed))));
    (attachments(media, blobs, Arc::clone(env), limits), looked_up, signed)
}

#[tokio::test]
async fn a_page_of_messages_costs_one_look_up_and_the_next_none() {
    let env = env();
    let (files, looked_up, signed) = counted(&env, Limits::default());
    let page = || (1..=50).chain(1..=50).map(showing).collect::<Vec<_>>();
    let mut first = page();
    files.enrich(&mut first).await;
    let counts = || (looked_up.load(Ordering::Relaxed), signed.load(Ordering::Relaxed));
    assert_eq!(counts(), (1, 100), "an address of each file, and of its thumbnail");
    env.advance(Duration::from_secs(55 * 60 - 1));
    let mut second = page();
    files.enrich(&mut second).await;
    assert_eq!(counts(), (1, 100));
    assert_eq!(first, second);
    env.advance(Duration::from_secs(1));
    files.enrich(&mut second).await;
    assert_eq!(counts(), (2, 200), "what expires soon is not given out");
    assert_ne!(first, second);
}

#[tokio::test]
async fn texts_and_tombstones_look_nothing_up() {
    let files = super::no_attachments();
    let text = MessageView::of(&message(1, ALICE), Status::Sent, None);
    let mut tombstone = message(2, ALICE);
    (tombstone.content, tombstone.kind) = (None, MessageKind::Image);
    let tombstone = MessageView::of(&tombstone, Status::Sent, None);
    let mut messages = [text.clone(), tombstone.clone()];
    files.enrich(&mut messages).await;
    assert_eq!(messages, [text.clone(), tombstone]);
    let text = Arc::new(text);
    assert!(Arc::ptr_eq(&files.enriched(&text).await, &text), "what everybody shares is not copied");
}

#[tokio::test]
async fn a_store_that_is_down_costs_the_addresses_and_not_the_message() {
    let mut media = MockMediaStore::new();
    media.expect_get().returning(|_| down());
    let files = attachments(media, MockBlobStore::new(), env(), Limits::default());
    let mut messages = [showing(1)];
    files.enrich(&mut messages).await;
    let payload = messages[0].payload.to_value();
    assert_eq!(payload["media_id"], id(1).to_string());
    for key in ["media_url", "thumbnail_url", "mime_type", "size_bytes", "width", "height", "duration_ms", "file_name", "file_size", "duration"] {
        assert!(payload.as_object().expect("an object").contains_key(key) && payload[key].is_null(), "{key}");
    }
}

#[tokio::test]
async fn no_more_files_are_kept_at_hand_than_may_be() {
    let env = env();
    let (files, looked_up, _) = counted(&env, Limits { media_urls: 10, ..Limits::default() });
    for number in 1..=25 {
        files.enrich(&mut [showing(number)]).await;
        assert!(files.kept_files() <= 10);
    }
    assert_eq!(looked_up.load(Ordering::Relaxed), 25);
}
