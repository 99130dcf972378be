//! The protocol against bytes as they may come.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const LONGEST: usize = 100;

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 200, 42];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=65535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

struct Met {
    incoming: Vec<Incoming>,
    error: Option<String>,
    answered: Vec<u8>,
    kept: usize,
}

/// What comes of these bytes, which arrive in these pieces, before the client ends its side.
async fn meet(pieces: &[&[u8]], longest: usize) -> Met {
    let (mut client, server) = duplex(1 << 20);
    let mut wire = Wire::new(server, longest);
    let (mut incoming, mut error) = (Vec::new(), None);
    let mut kept = 0;
    let mut note = |next: Option<Result<Incoming, WireError>>, wire: &Wire<DuplexStream>| {
        kept = wire.inbox.capacity();
        match next {
            Some(Ok(came)) => incoming.push(came),
            Some(Err(failed)) => error = Some(failed.to_string()),
            None => return false,
        }
        true
    };
    for piece in pieces {
        client.write_all(piece).await.expect("written");
        poll_fn(|cx| {
            while let Poll::Ready(next) = wire.poll_next(cx) {
                if !note(next, &wire) {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
    }
    let _ = poll_fn(|cx| wire.poll_flush(cx)).await;
    client.shutdown().await.expect("ended");
    while note(poll_fn(|cx| wire.poll_next(cx)).await, &wire) {}
    poll_fn(|cx| wire.poll_flush(cx)).await.expect("flushed");
    drop(wire);
    let mut answered = Vec::new();
    client.read_to_end(&mut answered).await.expect("read");
    Met { incoming, error, answered, kept }
}

fn text(text: &str) -> Incoming {
    Incoming::Text(text.as_bytes().to_vec())
}

#[tokio::test]
async fn messages_come_whole_however_they_are_cut() {
    let mut bytes = frame(0x81, b"first");
    bytes.extend(frame(0x01, b"in "));
    bytes.extend(frame(0x89, b"are you there?"));
    bytes.extend(frame(0x00, "thr\u{e9}".as_bytes()));
    bytes.extend(frame(0x80, b"e"));
    bytes.extend(frame(0x82, &[0, 159]));
    bytes.extend(frame(0x8a, b""));
    bytes.extend(frame(0x81, b""));
    let expected = [text("first"), Incoming::Control, text("in thr\u{e9}e"), Incoming::Binary, Incoming::Control, text("")];
    for at in 0..bytes.len() {
        let met = meet(&[&bytes[..at], &bytes[at..]], LONGEST).await;
        assert_eq!((&met.incoming[..], &met.error), (&expected[..], &None), "cut at {at}");
        assert_eq!(met.answered, [&[0x8a, 14][..], b"are you there?"].concat());
        assert_eq!(met.kept, 0, "an idle connection keeps no buffer");
    }
}

#[tokio::test]
async fn a_message_may_be_as_long_as_allowed_and_not_a_byte_longer() {
    let fits = "x".repeat(LONGEST);
    assert_eq!(meet(&[&frame(0x81, fits.as_bytes())], LONGEST).await.incoming, [text(&fits)]);
    let two = [frame(0x01, &fits.as_bytes()[1..]), frame(0x80, b"x")].concat();
    assert_eq!(meet(&[&two], LONGEST).await.incoming, [text(&fits)]);
    let too_long = WireError::TooLong.to_string();
    let past = [frame(0x01, fits.as_bytes()), frame(0x80, b"x")].concat();
    assert_eq!(meet(&[&past], LONGEST).await.error, Some(too_long.clone()));
    // It is refused when its length is known, not when it has come.
    let announced = [0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    assert_eq!(meet(&[&announced], LONGEST).await.error, Some(too_long));
    let long = "y".repeat(70_000);
    assert_eq!(meet(&[&frame(0x81, long.as_bytes())], 70_000).await.incoming, [text(&long)]);
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_told_so() {
    let cases: [(&str, Vec<u8>, u16); 17] = [
        ("reserved bits", frame(0xc1, b"x"), 1002),
        ("an unknown data opcode", frame(0x83, b"x"), 1002),
        ("an unknown control opcode", frame(0x8b, b"x"), 1002),
        ("no mask", vec![0x81, 1, b'x'], 1002),
        ("a ping in fragments", frame(0x09, b"x"), 1002),
        ("a long ping", frame(0x89, &[b'x'; 126]), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("a new message within another", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002),
        ("text that is not UTF-8", frame(0x81, &[0xff]), 1007),
        ("text that ends within a character", frame(0x81, &[0xc3]), 1007),
        ("half a close code", frame(0x88, &[3]), 1002),
        ("a close code that is never sent", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("a close code of nobody", frame(0x88, &2999_u16.to_be_bytes()), 1002),
        ("a close code too small", frame(0x88, &999_u16.to_be_bytes()), 1002),
        ("a close code too large", frame(0x88, &5000_u16.to_be_bytes()), 1002),
        ("a close reason that is not UTF-8", frame(0x88, &[3, 232, 0xff]), 1007),
        ("a continuation after the end", [frame(0x01, b"x"), frame(0x80, b"y"), frame(0x80, b"z")].concat(), 1002),
    ];
    for (case, bytes, code) in cases {
        let met = meet(&[&bytes, &frame(0x81, b"not heard any more")], LONGEST).await;
        assert!(met.error.is_some(), "{case}");
        assert_eq!(met.answered, [&[0x88, 2][..], &code.to_be_bytes()].concat(), "{case}");
        assert!(!met.incoming.contains(&text("not heard any more")), "{case}");
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_ends_everything() {
    for (payload, answer) in [(&[][..], &[][..]), (&[3, 232], &[3, 232]), (&[15, 160, b'b', b'y', b'e'], &[15, 160])] {
        let met = meet(&[&frame(0x88, payload), &frame(0x89, b"still there?")], LONGEST).await;
        assert_eq!((met.incoming.len(), met.error), (0, None));
        assert_eq!(met.answered, [&[0x88, answer.len() as u8][..], answer].concat());
    }
}

#[tokio::test]
async fn nothing_follows_a_close_of_the_server() {
    let (mut client, server) = duplex(1000);
    let mut wire = Wire::new(server, LONGEST);
    wire.text(b"last");
    wire.close(4008, "reader too slow");
    wire.text(b"never");
    wire.close(1000, "again");
    poll_fn(|cx| wire.poll_flush(cx)).await.expect("flushed");
    drop(wire);
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).await.expect("read");
    assert_eq!(sent, [&[0x81, 4][..], b"last", &[0x88, 17, 15, 168], b"reader too slow"].concat());
}

#[tokio::test]
async fn pings_are_not_read_faster_than_pongs_are() {
    let (mut client, server) = duplex(1 << 10);
    let mut wire = Wire::new(server, LONGEST);
    let flood = tokio::spawn(async move {
        let ping = frame(0x89, &[b'p'; 125]);
        // The other side takes no more at some time; it never reads what is sent to it.
        while client.write_all(&ping).await.is_ok() {}
    });
    for _ in 0..20_000 {
        let _ = poll_fn(|cx| Poll::Ready(wire.poll_next(cx).is_ready())).await;
        let _ = poll_fn(|cx| Poll::Ready(wire.poll_flush(cx).is_ready())).await;
        tokio::task::yield_now().await;
    }
    let unsent = wire.outbox.len() - wire.sent;
    assert!((UNSENT..UNSENT + 2 * READ).contains(&unsent), "{unsent}");
    flood.abort();
}

#[tokio::test]
async fn a_reader_that_takes_a_little_at_a_time_costs_no_more_than_one_that_takes_nothing() {
    let (client, server) = duplex(1 << 10);
    let mut wire = Wire::new(server, LONGEST);
    let (mut reading, mut writing) = tokio::io::split(client);
    let flood = tokio::spawn(async move {
        let ping = frame(0x89, &[b'p'; 125]);
        while writing.write_all(&ping).await.is_ok() {}
    });
    let sip = tokio::spawn(async move {
        let mut taken = [0; 700];
        while reading.read(&mut taken).await.is_ok_and(|length| length > 0) {}
    });
    let mut most = 0;
    while wire.written() < 16 * UNSENT as u64 {
        let _ = poll_fn(|cx| Poll::Ready(wire.poll_next(cx).is_ready())).await;
        // The rest that is never taken: nothing is ever wholly written.
        if wire.outbox.len() - wire.sent > UNSENT / 2 {
            let _ = poll_fn(|cx| Poll::Ready(wire.poll_flush(cx).is_ready())).await;
        }
        most = most.max(wire.outbox.capacity());
        tokio::task::yield_now().await;
    }
    assert!(most <= 8 * UNSENT, "{most}");
    flood.abort();
    sip.abort();
}

proptest! {
    /// Whatever comes, it is taken apart without harm and without keeping more than allowed, wherever it is cut.
    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let at = cut.min(bytes.len());
        let met = runtime.block_on(meet(&[&bytes[..at], &bytes[at..]], LONGEST));
        let whole = runtime.block_on(meet(&[&bytes], LONGEST));
        prop_assert_eq!(&met.incoming, &whole.incoming);
        prop_assert_eq!(&met.error, &whole.error);
        prop_assert_eq!(&met.answered, &whole.answered);
        for came in &met.incoming {
            if let Incoming::Text(text) = came {
                prop_assert!(text.len() <= LONGEST);
            }
        }
    }

    /// Frames that a client makes come as it made them.
    #[test]
    fn frames_read_back(messages in prop::collection::vec("\\PC{0,25}", 1..8), pieces in 1_usize..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut bytes = Vec::new();
        for message in &messages {
            let parts: Vec<&[u8]> = message.as_bytes().chunks(message.len().div_ceil(pieces).max(1)).collect();
            if parts.is_empty() {
                bytes.extend(frame(0x81, b""));
            }
            for (index, part) in parts.iter().enumerate() {
                let last = if index + 1 == parts.len() { 0x80 } else { 0 };
                bytes.extend(frame(last | u8::from(index == 0), part));
            }
        }
        let met = runtime.block_on(meet(&[&bytes], LONGEST));
        prop_assert_eq!(met.incoming, messages.iter().map(|message| text(message)).collect::<Vec<_>>());
    }
}
