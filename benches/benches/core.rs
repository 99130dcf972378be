//! What the core and the frames take for one message.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use uuid::Uuid;
use wa_core::id::ChatId;
use wa_core::limits::Limits;
use wa_core::message::{Content, Fingerprint};
use wa_core::receipt::{Marks, SeqRange};
use wa_core::time::Timestamp;
use wa_transport::ws::frame;

fn messages(c: &mut Criterion) {
    let limits = Limits::default();
    let payload = json!({"body": "Shall we meet at the harbour at eight? I bring the charts."});
    let chat = ChatId::from_uuid(Uuid::from_u128(1));
    let content = Content::parse("text", &payload, &limits).expect("a text");
    c.bench_function("content/parse", |b| b.iter(|| Content::parse(black_box("text"), black_box(&payload), &limits)));
    c.bench_function("content/fingerprint", |b| b.iter(|| Fingerprint::of(chat, black_box(&content), None)));
    c.bench_function("receipts/deliver_in_order", |b| {
        b.iter(|| {
            let mut marks = Marks::default();
            for seq in 1..=100 {
                let seq = wa_core::message::Seq::new(seq);
                marks.deliver(SeqRange { from: seq, to: seq });
            }
            marks
        });
    });
}

fn frames(c: &mut Criterion) {
    let limits = Limits::default();
    let text = format!(
        r#"{{"event":"message.send","data":{{"chat_id":"{}","client_msg_id":"18f-7-1000","type":"text","payload":{{"body":"Shall we meet at the harbour at eight?"}}}}}}"#,
        Uuid::from_u128(1)
    );
    let data =
        json!({"message_id": Uuid::from_u128(1), "chat_id": Uuid::from_u128(2), "seq": 7, "payload": {"body": "Shall we meet at the harbour at eight?"}});
    c.bench_function("frame/parse", |b| b.iter(|| frame::parse(black_box(text.as_bytes()), &limits).map(|frame| frame.event)));
    c.bench_function("frame/encode", |b| b.iter(|| frame::encode("message.new", black_box(&data), None, Timestamp::from_millis(1_767_225_600_000))));
}

criterion_group!(benches, messages, frames);
criterion_main!(benches);
