//! Replays the fuzzer's corpus of configuration files (`fuzz/corpus/config`) through the parser, as
//! `fuzz/fuzz_targets/config.rs` does, and checks that each seed comes out as its name says.

use std::path::Path;

use wa_server::Config;

#[test]
fn configurations_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/config");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds = 0;
    for entry in entries {
        let path = entry.expect("is listed").path();
        let name = path.file_name().expect("is a file").to_string_lossy().into_owned();
        // What is no text is refused before it gets here.
        let Ok(text) = String::from_utf8(std::fs::read(&path).expect("is readable")) else { continue };
        let config = Config::from_toml(&text);
        if let Err(errors) = &config {
            assert!(!errors.errors().is_empty() && !errors.to_string().is_empty(), "{name}");
            assert!(!errors.to_string().contains("password"), "{name}: a secret shows in {errors}");
        }
        // Seeds a fuzzer found have names that say nothing; that they do not panic is enough.
        assert!(!name.starts_with("ok_") || config.is_ok(), "{name}: {config:?}");
        assert!(!name.starts_with("bad_") || config.is_err(), "{name}");
        seeds += 1;
    }
    assert!(seeds > 20, "the corpus is in place");
}
