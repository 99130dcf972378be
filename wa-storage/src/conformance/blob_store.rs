//! The contract of `BlobStore`.

use wa_core::id::MediaId;
use wa_core::media::{Format, ObjectKey};
use wa_core::ports::Blob;

use super::Subject;

async fn bytes(mut blob: Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = blob.body.next().await.expect("read") {
        assert!(!piece.is_empty() && piece.len() <= 256 << 10, "a piece of {} bytes", piece.len());
        bytes.extend(piece);
    }
    assert_eq!(bytes.len() as u64, blob.range.end - blob.range.start);
    bytes
}

async fn read(s: &Subject, key: &ObjectKey, range: Option<std::ops::Range<u64>>) -> Option<Vec<u8>> {
    match s.blobs.read(key, range).await.expect("read") {
        Some(blob) => Some(bytes(blob).await),
        None => None,
    }
}

fn original(s: &Subject) -> ObjectKey {
    ObjectKey::Original(s.id(), Format::Pdf)
}

/// Case.
pub async fn an_object_reads_back_whole_and_in_parts(s: &Subject) {
    let id: MediaId = s.id();
    for key in [ObjectKey::Original(id, Format::Jpeg), ObjectKey::Thumbnail(id)] {
        let whole = format!("the bytes of {key}").into_bytes();
        s.blobs.put(&key, whole.clone()).await.expect("put");
        assert_eq!(read(s, &key, None).await.as_ref(), Some(&whole));
        assert_eq!(read(s, &key, Some(4..9)).await.as_deref(), Some(&whole[4..9]));
        let blob = s.blobs.read(&key, Some(0..1)).await.expect("read").expect("is there");
        assert_eq!((blob.size, blob.range), (whole.len() as u64, 0..1));
    }
    let empty = original(s);
    s.blobs.put(&empty, Vec::new()).await.expect("put");
    assert_eq!(read(s, &empty, None).await, Some(Vec::new()));
}

/// Case.
pub async fn a_range_past_the_end_is_cut_and_one_behind_it_is_empty(s: &Subject) {
    let key = original(s);
    s.blobs.put(&key, b"0123456789".to_vec()).await.expect("put");
    assert_eq!(read(s, &key, Some(7..u64::MAX)).await.as_deref(), Some(&b"789"[..]));
    assert_eq!(read(s, &key, Some(10..20)).await.as_deref(), Some(&b""[..]));
    assert_eq!(read(s, &key, Some(3..3)).await.as_deref(), Some(&b""[..]));
    assert_eq!(s.blobs.read(&key, Some(0..0)).await.expect("read").expect("is there").size, 10);
}

/// Case.
pub async fn an_absent_object_reads_as_none(s: &Subject) {
    assert_eq!(read(s, &original(s), None).await, None);
    assert_eq!(read(s, &original(s), Some(0..1)).await, None);
}

/// Case.
pub async fn putting_again_replaces(s: &Subject) {
    let key = original(s);
    for text in ["a longer text than the next", "short"] {
        s.blobs.put(&key, text.as_bytes().to_vec()).await.expect("put");
        assert_eq!(read(s, &key, None).await.as_deref(), Some(text.as_bytes()));
    }
    assert_eq!(s.blobs.list(None, 10).await.expect("listed").len(), 1);
}

/// Case.
pub async fn a_deleted_object_is_gone_and_deleting_it_again_is_no_error(s: &Subject) {
    let (key, other) = (original(s), original(s));
    for key in [&key, &other] {
        s.blobs.put(key, b"x".to_vec()).await.expect("put");
    }
    for _ in 0..2 {
        s.blobs.delete(&key).await.expect("deleted");
        assert_eq!(read(s, &key, None).await, None);
    }
    assert_eq!(read(s, &other, None).await.as_deref(), Some(&b"x"[..]));
    s.blobs.delete(&original(s)).await.expect("nothing to delete");
}

/// Case.
pub async fn a_listing_is_in_the_order_of_keys_and_goes_on_after_the_last(s: &Subject) {
    assert!(s.blobs.list(None, 10).await.expect("listed").is_empty());
    let mut keys = Vec::new();
    for _ in 0..7 {
        // Ids of one moment, and of others.
        for ahead in [0, 0, 3_600] {
            s.env.advance(std::time::Duration::from_secs(ahead));
            let id: MediaId = s.id();
            keys.extend([ObjectKey::Original(id, Format::Png), ObjectKey::Thumbnail(id)]);
        }
    }
    for key in keys.iter().rev() {
        s.blobs.put(key, b"x".to_vec()).await.expect("put");
    }
    keys.sort_by_key(ToString::to_string);
    for limit in [1, 5, 42, 100] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = s.blobs.list(after, limit).await.expect("listed");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            listed.extend(page.into_iter().map(|object| object.key));
        }
        assert_eq!(listed, keys, "{limit}");
    }
}

/// Case.
pub async fn a_large_file_is_put_and_read_in_pieces(s: &Subject) {
    let size = 5 * (1 << 20) + 17;
    let whole: Vec<u8> = (0..size).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut staged = s.staging.stage().await.expect("staged");
    for piece in whole.chunks(100_000) {
        staged.write(piece).await.expect("written");
    }
    staged.finish().await.expect("finished");
    let key = original(s);
    s.blobs.put_file(&key, staged.path()).await.expect("put");
    drop(staged);
    assert!(read(s, &key, None).await.as_ref() == Some(&whole), "other bytes came back");
    assert!(read(s, &key, Some(1_000_000..4_000_001)).await.as_deref() == Some(&whole[1_000_000..4_000_001]), "other bytes came back");
}

/// Case.
pub async fn a_store_that_can_be_used_is_healthy(s: &Subject) {
    s.blobs.check().await.expect("healthy");
    assert!(s.blobs.list(None, 10).await.expect("listed").is_empty(), "a check leaves nothing behind");
}
