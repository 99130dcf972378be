//! Socket frames: any bytes are a frame or a typed error, and what is echoed of them is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wa_core::limits::Limits;
use wa_transport::ws::frame::parse;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = parse(bytes, &Limits::default()) {
        assert!(frame.req_id.is_none_or(|id| id.as_json().len() <= Limits::default().ws_req_id));
        assert!(frame.data.is_none_or(|data| data.get().len() <= bytes.len()));
    }
});
