//! The spellings of existing clients on the socket (contract, section 9), and nothing else of them anywhere: frames are read
//! by their other keys where the canonical ones are missing, and written with both to a client that used them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wa_core::id::{ChatId, MessageId};

use super::frame::{ClientEvent, ClientFrame, FrameError};
use super::request::Request;

/// A frame of a client by all its names.
#[derive(Deserialize)]
struct Spelled<'a> {
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    req_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Canonical<'a> {
    event: &'a str,
    data: Option<&'a RawValue>,
    req_id: Option<&'a RawValue>,
}

/// The frame in its canonical form, if it is spelled otherwise, and whether its client uses other keys than the canonical
/// ones. `read` is what the canonical reader made of it.
pub(super) fn respell(bytes: &[u8], read: &Result<ClientFrame<'_>, FrameError>) -> Option<(String, bool)> {
    let holds = |key: &[u8]| bytes.windows(key.len()).any(|window| window == key);
    let may_be_spelled = match read {
        Err(FrameError::UnknownEvent(_)) => true,
        Err(_) => false,
        Ok(frame) => (frame.data.is_none() && holds(b"\"payload\"")) || (frame.req_id.is_none() && holds(b"\"ref\"")),
    };
    if !may_be_spelled {
        return None;
    }
    let spelled: Spelled<'_> = serde_json::from_slice(bytes).ok()?;
    let uses_keys = (spelled.event.is_none() && spelled.kind.is_some())
        || (spelled.data.is_none() && spelled.payload.is_some())
        || (spelled.req_id.is_none() && spelled.reference.is_some());
    let event = spelled.event.or(spelled.kind)?;
    let event = match &*event {
        "message.deleted" => "message.delete",
        other if uses_keys => other,
        // Nothing is spelled otherwise: what is wrong with it, is.
        _ => return None,
    };
    let canonical = Canonical { event, data: spelled.data.or(spelled.payload), req_id: spelled.req_id.or(spelled.reference) };
    Some((serde_json::to_string(&canonical).ok()?, uses_keys))
}

/// Receipts that name a single `message_id`; `message.read` then needs no chat.
pub(super) fn receipt(frame: &ClientFrame<'_>) -> Option<Request> {
    let data: Map<String, Value> = serde_json::from_str(frame.data?.get()).ok()?;
    let message: MessageId = data.get("message_id")?.as_str()?.parse().ok()?;
    match frame.event {
        ClientEvent::MessageDelivered if !data.contains_key("message_ids") => Some(Request::Delivered(vec![message])),
        ClientEvent::MessageRead if !data.contains_key("up_to_message_id") => {
            let chat: Option<ChatId> = match data.get("chat_id") {
                None | Some(Value::Null) => None,
                Some(chat) => Some(chat.as_str()?.parse().ok()?),
            };
            Some(Request::Read { chat, up_to: message })
        }
        _ => None,
    }
}

/// A frame of the server, whose parts stay as they are.
#[derive(Deserialize)]
struct Sent<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    req_id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: &'a RawValue,
}

#[derive(Serialize)]
struct Mirrored<'a, T: ?Sized> {
    event: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    data: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    req_id: Option<&'a RawValue>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a RawValue>,
    timestamp: &'a RawValue,
}

/// The frame for a client that uses the other keys: with `type` beside `event`, `ref` beside `req_id`, and in `typing` the
/// state as `typing` beside `is_typing`.
pub(super) fn mirror(frame: Bytes) -> Bytes {
    match mirrored(&frame) {
        Ok(mirrored) => mirrored,
        // Everything the server sends is of this form; what is not, is sent as it is.
        Err(_) => frame,
    }
}

fn mirrored(frame: &[u8]) -> serde_json::Result<Bytes> {
    let Sent { event, data, req_id, timestamp } = serde_json::from_slice(frame)?;
    let with = |data| Mirrored { event, kind: event, data, req_id, reference: req_id, timestamp };
    let text = if event == "typing" {
        let mut state: Map<String, Value> = serde_json::from_str(data.get())?;
        if let Some(is_typing) = state.get("is_typing").cloned() {
            state.insert("typing".to_owned(), is_typing);
        }
        serde_json::to_vec(&with(&*serde_json::value::to_raw_value(&state)?))?
    } else {
        serde_json::to_vec(&with(data))?
    };
    Ok(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame;
    use proptest::prelude::*;
    use serde_json::json;
    use wa_core::limits::Limits;

    const ID: &str = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";

    fn respelled(text: &str) -> Option<(Value, bool)> {
        let (canonical, uses_keys) = respell(text.as_bytes(), &frame::parse(text.as_bytes(), &Limits::default()))?;
        Some((serde_json::from_str(&canonical).expect("JSON"), uses_keys))
    }

    #[test]
    fn frames_are_read_by_their_other_keys() {
        let canonical = json!({"event": "message.send", "data": {"x": 1}, "req_id": "1"});
        for text in [
            r#"{"type":"message.send","payload":{"x":1},"ref":"1"}"#,
            r#"{"event":"message.send","payload":{"x":1},"ref":"1"}"#,
            r#"{"type":"message.send","data":{"x":1},"req_id":"1"}"#,
            r#"{"event":"message.send","data":{"x":1},"ref":"1"}"#,
        ] {
            assert_eq!(respelled(text), Some((canonical.clone(), true)), "{text}");
        }
        let (deleted, uses_keys) = respelled(&format!(r#"{{"event":"message.deleted","data":{{"message_id":"{ID}"}}}}"#)).expect("respelled");
        assert_eq!((&deleted["event"], uses_keys), (&json!("message.delete"), false));
    }

    #[test]
    fn canonical_frames_are_left_alone() {
        for text in [
            r#"{"event":"ping"}"#,
            r#"{"event":"message.send","data":{"payload":{},"ref":1},"req_id":"1"}"#,
            r#"{"event":"message.send","data":{"payload":{}}}"#,
            r#"{"event":"nothing"}"#,
            r#"{"event":"nothing","data":{}}"#,
            "[]",
            "nonsense",
        ] {
            assert_eq!(respelled(text), None, "{text}");
        }
    }

    #[test]
    fn what_the_server_sends_carries_both_keys() {
        let mirrored = |text: &str| String::from_utf8(mirror(Bytes::from(text.to_owned())).to_vec()).expect("text");
        assert_eq!(
            mirrored(r#"{"event":"ack","data":{"n":1.50},"req_id":"a\u0041","timestamp":"t"}"#),
            r#"{"event":"ack","type":"ack","data":{"n":1.50},"req_id":"a\u0041","ref":"a\u0041","timestamp":"t"}"#
        );
        assert_eq!(mirrored(r#"{"event":"pong","data":{},"timestamp":"t"}"#), r#"{"event":"pong","type":"pong","data":{},"timestamp":"t"}"#);
        assert_eq!(
            mirrored(r#"{"event":"typing","data":{"is_typing":true},"timestamp":"t"}"#),
            r#"{"event":"typing","type":"typing","data":{"is_typing":true,"typing":true},"timestamp":"t"}"#
        );
    }

    proptest! {
        #[test]
        fn no_near_frame_makes_a_panic(text in r#"[{\[]("(event|type|data|payload|req_id|ref)":("[a-z.\\]{0,16}"|[0-9\-.]{0,5}|[{}\[\],]{0,4}|null)[,]?){0,6}[}\]]?"#) {
            let read = frame::parse(text.as_bytes(), &Limits::default());
            let _ = respell(text.as_bytes(), &read);
            let _ = mirror(Bytes::from(text));
        }
    }
}
