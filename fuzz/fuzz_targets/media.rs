//! Uploaded files: any bytes, uploaded as anything, are of the declared kind or refused. The samples of other programs are a
//! good start: `cargo +nightly fuzz run media fuzz/corpus/media wa-storage/tests/media`.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use wa_core::media::MediaKind;
use wa_storage::media::examine;

fuzz_target!(|bytes: &[u8]| {
    for declared in MediaKind::ALL {
        if let Ok(inspected) = examine(&mut Cursor::new(bytes), declared, 200) {
            assert_eq!(inspected.format.kind(), declared);
            assert!(inspected.thumbnail.is_none_or(|thumbnail| thumbnail.starts_with(&[0xFF, 0xD8, 0xFF])));
        }
    }
});
