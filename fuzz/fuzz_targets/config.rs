//! Configuration files: any text is a configuration or a list of what is wrong with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wa_server::Config;

fuzz_target!(|text: &str| {
    if let Err(errors) = Config::from_toml(text) {
        assert!(!errors.errors().is_empty() && !errors.to_string().is_empty());
    }
});
