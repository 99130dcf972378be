//! The contract of `MediaStore`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join;
use wa_core::id::MediaId;
use wa_core::media::{Checksum, Format, Media};
use wa_core::time::Timestamp;

use super::Subject;

const DAY: Duration = Duration::from_secs(86_400);

impl Subject {
    /// A file that was uploaded just now.
    pub(super) fn media(&self, format: Format) -> Media {
        Media {
            id: self.id(),
            uploader_id: self.id(),
            format,
            size_bytes: 7,
            width: None,
            height: None,
            duration_ms: None,
            checksum: Checksum([7; 32]),
            file_name: None,
            has_thumbnail: false,
            created_at: self.now(),
        }
    }

    pub(super) async fn upload(&self) -> Media {
        let media = self.media(Format::Png);
        self.media.insert(&media).await.expect("inserted");
        media
    }
}

async fn get(s: &Subject, id: MediaId) -> Option<Media> {
    s.media.get(&[id]).await.expect("read").pop()
}

async fn unused(s: &Subject, before: Timestamp) -> Vec<(MediaId, bool)> {
    let unused = s.media.unused(before, None, 100).await.expect("read");
    unused.into_iter().map(|file| (file.media.id, file.is_released)).collect()
}

/// Case.
pub async fn what_was_inserted_reads_back(s: &Subject) {
    for format in Format::ALL {
        let full = Media {
            size_bytes: 5_000_000_000,
            width: Some(u32::MAX),
            height: Some(1),
            duration_ms: Some(3_600_000),
            file_name: Some("Ünïcode \"name\".pdf".to_owned()),
            has_thumbnail: true,
            ..s.media(*format)
        };
        for media in [full, s.media(*format)] {
            s.media.insert(&media).await.expect("inserted");
            assert_eq!(get(s, media.id).await, Some(media));
        }
    }
}

/// Case.
pub async fn unknown_files_are_left_out(s: &Subject) {
    let media = s.upload().await;
    assert!(s.media.get(&[]).await.expect("read").is_empty());
    let ids: Vec<MediaId> = (0..700).map(|_| s.id()).chain([media.id]).collect();
    assert_eq!(s.media.get(&ids).await.expect("read"), std::slice::from_ref(&media));
    assert_eq!(s.media.known(&ids).await.expect("read"), [media.id]);
    assert!(!s.media.mark_used(s.id(), s.now()).await.expect("answered"));
    assert!(!s.media.release(s.id(), Timestamp::MAX).await.expect("answered"));
    s.media.remove(&[s.id()]).await.expect("nothing to remove");
}

/// Case.
pub async fn using_a_file_puts_its_release_off(s: &Subject) {
    let media = s.upload().await;
    s.env.advance(DAY);
    let before = s.now();
    assert_eq!(unused(s, before).await, [(media.id, false)]);
    assert!(s.media.mark_used(media.id, s.now()).await.expect("answered"));
    assert!(unused(s, before).await.is_empty());
    assert!(!s.media.release(media.id, before).await.expect("answered"));
    // An older use does not take back a newer one.
    assert!(s.media.mark_used(media.id, media.created_at).await.expect("answered"));
    assert!(!s.media.release(media.id, before).await.expect("answered"));
    assert_eq!(get(s, media.id).await, Some(media));
}

/// Case.
pub async fn a_released_file_is_gone_for_everybody_but_the_sweep(s: &Subject) {
    let media = s.upload().await;
    s.env.advance(DAY);
    for _ in 0..2 {
        assert!(s.media.release(media.id, s.now()).await.expect("released"));
        assert_eq!(get(s, media.id).await, None);
        assert!(!s.media.mark_used(media.id, s.now()).await.expect("answered"));
        assert_eq!(s.media.known(&[media.id]).await.expect("read"), [media.id]);
        assert_eq!(unused(s, s.now()).await, [(media.id, true)]);
    }
}

/// Case.
pub async fn of_a_use_and_a_release_one_wins(s: &Subject) {
    for _ in 0..20 {
        let media = s.upload().await;
        s.env.advance(DAY);
        let before = s.now();
        s.env.advance(Duration::from_secs(1));
        let (is_used, is_released) = join(s.media.mark_used(media.id, s.now()), s.media.release(media.id, before)).await;
        let (is_used, is_released) = (is_used.expect("answered"), is_released.expect("answered"));
        assert!(is_used != is_released, "used: {is_used}, released: {is_released}");
        assert_eq!(get(s, media.id).await.is_some(), is_used);
    }
}

/// Case.
pub async fn unused_files_come_oldest_first_and_bounded(s: &Subject) {
    let mut files = Vec::new();
    for number in 0..10 {
        // Several of one moment.
        s.env.advance(Duration::from_secs(number % 3));
        files.push(s.upload().await);
    }
    s.env.advance(DAY);
    s.media.mark_used(files[0].id, s.now()).await.expect("answered");
    s.media.release(files[1].id, s.now()).await.expect("answered");
    let mut expected: Vec<_> = files[1..].iter().map(|media| (media.created_at, media.id)).collect();
    expected.sort_unstable();
    for limit in [1, 3, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = s.media.unused(s.now(), after, limit).await.expect("read");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some((last.used_at, last.media.id));
            found.extend(page.iter().map(|file| (file.used_at, file.media.id)));
        }
        assert_eq!(found, expected, "{limit}");
    }
    assert!(s.media.unused(files[0].created_at, None, 100).await.expect("read").is_empty());
}

/// Case.
pub async fn a_removed_file_is_gone(s: &Subject) {
    let (media, other) = (s.upload().await, s.upload().await);
    s.env.advance(DAY);
    s.media.release(media.id, s.now()).await.expect("released");
    // Only what was released is removed.
    s.media.remove(&[media.id, other.id]).await.expect("removed");
    let known: BTreeSet<MediaId> = s.media.known(&[media.id, other.id]).await.expect("read").into_iter().collect();
    assert_eq!(known, BTreeSet::from([other.id]));
    assert_eq!(unused(s, s.now()).await, [(other.id, false)]);
}
