//! Replays the fuzzer's corpus of socket frames (`fuzz/corpus/frames`) through the parser, as `fuzz/fuzz_targets/frames.rs`
//! does, and checks that each seed comes out as its name says.
#![cfg(feature = "server")]

use std::path::Path;

use wa_core::limits::Limits;
use wa_transport::ws::frame::parse;

#[test]
fn frames_are_read_or_refused() {
    let limits = Limits::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frames");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds = 0;
    for entry in entries {
        let path = entry.expect("is listed").path();
        let name = path.file_name().expect("is a file").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("is readable");
        let frame = parse(&bytes, &limits);
        if let Ok(frame) = &frame {
            assert!(frame.req_id.as_ref().is_none_or(|id| id.as_json().len() <= limits.ws_req_id), "{name}");
            assert!(frame.data.is_none_or(|data| data.get().len() <= bytes.len()), "{name}");
        }
        // Seeds a fuzzer found have names that say nothing; that they do not panic is enough.
        assert!(!name.starts_with("ok_") || frame.is_ok(), "{name}: {frame:?}");
        assert!(!name.starts_with("bad_") || frame.is_err(), "{name}: {frame:?}");
        seeds += 1;
    }
    assert!(seeds > 20, "the corpus is in place");
}
