//! Frames on the wire (contract, section 3.2): reads what clients send, within bounds and without a panic, and writes what
//! the server sends, once for all who get it. What the data means is left to others.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wa_core::error::Error;
use wa_core::limits::Limits;
use wa_core::time::Timestamp;

/// The events clients may send (contract, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the contract's event of that name")]
pub enum ClientEvent {
    MessageSend,
    MessageDelivered,
    MessageRead,
    MessageEdit,
    MessageDelete,
    MessageReact,
    TypingStart,
    TypingStop,
    PresenceSubscribe,
    PresenceUnsubscribe,
    Sync,
    Call,
    Ping,
}

impl ClientEvent {
    /// Every event by its name.
    pub const ALL: [(&'static str, Self); 18] = [
        ("message.send", Self::MessageSend),
        ("message.delivered", Self::MessageDelivered),
        ("message.read", Self::MessageRead),
        ("message.edit", Self::MessageEdit),
        ("message.delete", Self::MessageDelete),
        ("message.react", Self::MessageReact),
        ("typing.start", Self::TypingStart),
        ("typing.stop", Self::TypingStop),
        ("presence.subscribe", Self::PresenceSubscribe),
        ("presence.unsubscribe", Self::PresenceUnsubscribe),
        ("sync", Self::Sync),
        ("call.offer", Self::Call),
        ("call.answer", Self::Call),
        ("call.ice-candidate", Self::Call),
        ("call.end", Self::Call),
        ("call.ringing", Self::Call),
        ("call.reject", Self::Call),
        ("ping", Self::Ping),
    ];

    /// The event of this name; `None` if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, event)| *event)
    }

    /// Whether it changes something others see, and so counts against the tighter rate limit (contract, section 10).
    #[must_use]
    pub const fn is_message(self) -> bool {
        matches!(self, Self::MessageSend | Self::MessageEdit | Self::MessageDelete | Self::MessageReact | Self::Call)
    }
}

/// What a client calls its request, to be echoed in the answer: a JSON string or number, as it was written.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct ReqId(Box<RawValue>);

impl ReqId {
    /// As it is written in JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl std::fmt::Debug for ReqId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReqId({} bytes)", self.0.get().len())
    }
}

/// A readable frame of a client.
#[derive(Debug)]
pub struct ClientFrame<'a> {
    /// Which event.
    pub event: ClientEvent,
    /// Its data, still as JSON text; `None` if null or absent.
    pub data: Option<&'a RawValue>,
    /// What the client calls it.
    pub req_id: Option<ReqId>,
}

/// A frame that cannot be read. It holds nothing of the frame but the request's id, so it may be logged.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// More bytes than allowed.
    #[error("The frame is too large")]
    TooLarge,
    /// No JSON, or JSON that is broken.
    #[error("The frame is not JSON")]
    NotJson,
    /// JSON, but not an object.
    #[error("The frame is not a JSON object")]
    NotObject,
    /// No event, or one that does not exist.
    #[error("The event is unknown")]
    UnknownEvent(Option<ReqId>),
    /// The request's id is neither a string nor a number, or too long.
    #[error("req_id must be a short string or a number")]
    BadReqId,
}

impl FrameError {
    /// What the client calls the request, where that could be read.
    #[must_use]
    pub const fn req_id(&self) -> Option<&ReqId> {
        match self {
            Self::UnknownEvent(req_id) => req_id.as_ref(),
            _ => None,
        }
    }
}

impl From<&FrameError> for Error {
    fn from(error: &FrameError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    req_id: Option<&'a RawValue>,
}

/// Reads a frame.
///
/// # Errors
/// If it is too large, no JSON object, names no known event or has an unusable `req_id`.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Result<ClientFrame<'a>, FrameError> {
    if bytes.len() > limits.ws_frame {
        return Err(FrameError::TooLarge);
    }
    // serde would also read an array as the fields in order.
    let is_object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !is_object {
        return Err(if serde_json::from_slice::<&RawValue>(bytes).is_ok() { FrameError::NotObject } else { FrameError::NotJson });
    }
    let wire: Wire<'a> = serde_json::from_slice(bytes).map_err(|error| {
        // What is valid JSON fails only where `event` is no string, or a key is there twice.
        if error.is_data() && serde_json::from_slice::<&RawValue>(bytes).is_ok() { FrameError::UnknownEvent(None) } else { FrameError::NotJson }
    })?;
    let req_id = wire.req_id.map(|raw| req_id(raw, limits)).transpose()?;
    match wire.event.as_deref().and_then(ClientEvent::parse) {
        Some(event) => Ok(ClientFrame { event, data: wire.data, req_id }),
        None => Err(FrameError::UnknownEvent(req_id)),
    }
}

fn req_id(raw: &RawValue, limits: &Limits) -> Result<ReqId, FrameError> {
    let text = raw.get();
    let is_scalar = text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    if is_scalar && text.len() <= limits.ws_req_id { Ok(ReqId(raw.to_owned())) } else { Err(FrameError::BadReqId) }
}

#[derive(Serialize)]
struct ServerFrame<'a, T: ?Sized> {
    event: &'a str,
    data: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    req_id: Option<&'a ReqId>,
    timestamp: Timestamp,
}

/// Writes a frame. The bytes are shared by all who get it.
///
/// # Errors
/// If the data is not JSON after all, which is a defect.
pub fn encode<T: Serialize + ?Sized>(event: &str, data: &T, req_id: Option<&ReqId>, now: Timestamp) -> Result<Bytes, serde_json::Error> {
    let mut text = Vec::with_capacity(256);
    serde_json::to_writer(&mut text, &ServerFrame { event, data, req_id, timestamp: now })?;
    text.shrink_to_fit();
    Ok(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<ClientFrame<'_>, FrameError> {
        parse(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn a_frame_is_an_event_with_optional_data_and_req_id() {
        let frame = read(r#" {"req_id": "a\u0041", "x": [], "data": {"chat_id": 1}, "event": "message.send"} "#).expect("readable");
        assert_eq!(frame.event, ClientEvent::MessageSend);
        assert_eq!(frame.data.map(RawValue::get), Some(r#"{"chat_id": 1}"#));
        assert_eq!(frame.req_id.as_ref().map(ReqId::as_json), Some(r#""a\u0041""#));
        for bare in [r#"{"event":"ping"}"#, r#"{"event":"ping","data":null,"req_id":null}"#, r#"{"event":"\u0070ing"}"#] {
            let frame = read(bare).expect("readable");
            assert_eq!(frame.event, ClientEvent::Ping);
            assert!(frame.data.is_none() && frame.req_id.is_none(), "{bare}");
        }
        assert_eq!(read(r#"{"event":"ping","req_id":-7}"#).expect("readable").req_id.as_ref().map(ReqId::as_json), Some("-7"));
    }

    #[test]
    fn what_is_no_frame_is_told_apart() {
        for text in ["", " ", "{", "hello", r#"{"event":"ping"}x"#, r#"{"event":}"#, "[1,", "\u{feff}{}", "{\"event\":\"\n\"}"] {
            assert!(matches!(read(text), Err(FrameError::NotJson)), "{text}");
        }
        assert!(matches!(parse(b"{\"event\":\"\xff\"}", &Limits::default()), Err(FrameError::NotJson)));
        for text in ["[]", r#"["ping"]"#, "null", "1", r#""ping""#] {
            assert!(matches!(read(text), Err(FrameError::NotObject)), "{text}");
        }
        for text in ["{}", r#"{"event":null}"#, r#"{"event":1}"#, r#"{"event":"Ping"}"#, r#"{"event":"message.new"}"#, r#"{"event":"ping","event":"ping"}"#] {
            assert!(matches!(read(text), Err(FrameError::UnknownEvent(None))), "{text}");
        }
        let unknown = read(r#"{"event":"nothing","req_id":"7"}"#).expect_err("unknown");
        assert_eq!(unknown.req_id().map(ReqId::as_json), Some(r#""7""#));
        for text in [r#"{"event":"ping","req_id":{}}"#, r#"{"event":"ping","req_id":true}"#, r#"{"event":"ping","req_id":[1]}"#] {
            assert!(matches!(read(text), Err(FrameError::BadReqId)), "{text}");
        }
    }

    #[test]
    fn bounds_hold_at_the_limit_and_not_one_past() {
        let limits = Limits { ws_frame: 40, ws_req_id: 6, ..Limits::default() };
        let frame = |size: usize| format!("{:size$}", r#"{"event":"ping"}"#);
        assert!(parse(frame(40).as_bytes(), &limits).is_ok());
        assert!(matches!(parse(frame(41).as_bytes(), &limits), Err(FrameError::TooLarge)));
        assert!(parse(br#"{"event":"ping","req_id":"1234"}"#, &limits).is_ok());
        assert!(matches!(parse(br#"{"event":"ping","req_id":"12345"}"#, &limits), Err(FrameError::BadReqId)));
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        let text = format!(r#"{{"event":"ping","data":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(read(&text).is_ok());
        assert!(matches!(read(&"[".repeat(60_000)), Err(FrameError::NotJson)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, &Limits::default());
        }

        #[test]
        fn no_near_frame_makes_the_parser_panic(text in r#"[ ]?[{\[]("(event|data|req_id|x)":("[a-z.\\]{0,8}"|[0-9\-.eE]{0,9}|[{}\[\],]{0,4}|null)[,]?){0,5}[}\]]?"#) {
            let _ = parse(text.as_bytes(), &Limits::default());
        }

        #[test]
        fn a_req_id_is_echoed_as_it_was_written(id in "[a-zA-Z0-9 _-]{0,100}") {
            let text = format!(r#"{{"event":"ping","req_id":"{id}"}}"#);
            let frame = read(&text).expect("readable");
            let answer = encode("pong", &serde_json::json!({}), frame.req_id.as_ref(), Timestamp::from_millis(0)).expect("encodes");
            let expected = format!(r#"{{"event":"pong","data":{{}},"req_id":"{id}","timestamp":"1970-01-01T00:00:00.000Z"}}"#);
            prop_assert_eq!(std::str::from_utf8(&answer).expect("UTF-8"), expected);
        }
    }
}
