//! Reads the data of client events (contract, section 3.3): every field that breaks a rule is named at once.

use serde::Deserialize as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wa_core::api::{SendMessage, SyncRequest};
use wa_core::error::{Error, FieldError, Result};
use wa_core::id::{ChatId, ConnectionId, MessageId, UserId};
use wa_core::limits::Limits;

use super::frame::{ClientEvent, ClientFrame};

/// What a client asks for.
#[derive(Debug)]
pub(super) enum Request {
    Send(SendMessage),
    Delivered(Vec<MessageId>),
    /// The chat is that of the message unless it is named.
    Read {
        chat: Option<ChatId>,
        up_to: MessageId,
    },
    Edit {
        message: MessageId,
        payload: Value,
    },
    Delete {
        message: MessageId,
        for_everyone: bool,
    },
    /// `None` takes the reaction back.
    React {
        message: MessageId,
        emoji: Option<String>,
    },
    Typing {
        chat: ChatId,
        is_typing: bool,
    },
    Subscribe(Vec<UserId>),
    Unsubscribe(Vec<UserId>),
    Sync(SyncRequest),
    Ping,
}

impl Request {
    /// Reads the request of a frame that came over this socket.
    ///
    /// # Errors
    /// [`Error::Validation`] naming the fields that break a rule, [`Error::BadRequest`] for what is not supported.
    pub(super) fn read(frame: &ClientFrame<'_>, origin: ConnectionId, limits: &Limits) -> Result<Self> {
        let mut fields = Fields::of(frame.data)?;
        let request = match frame.event {
            ClientEvent::MessageSend => fields.send(origin),
            ClientEvent::MessageDelivered => fields.ids("message_ids", limits.receipt_ids).map(Self::Delivered),
            ClientEvent::MessageRead => {
                let (chat, up_to) = (fields.id("chat_id"), fields.id("up_to_message_id"));
                chat.zip(up_to).map(|(chat, up_to)| Self::Read { chat: Some(chat), up_to })
            }
            ClientEvent::MessageDelete => {
                let message = fields.id("message_id");
                let for_everyone = match fields.data.get("for") {
                    None | Some(Value::Null) => false,
                    Some(Value::String(whom)) if whom == "me" => false,
                    Some(Value::String(whom)) if whom == "everyone" => true,
                    Some(_) => {
                        fields.error("for", "must be me or everyone");
                        false
                    }
                };
                message.map(|message| Self::Delete { message, for_everyone })
            }
            ClientEvent::TypingStart => fields.id("chat_id").map(|chat| Self::Typing { chat, is_typing: true }),
            ClientEvent::TypingStop => fields.id("chat_id").map(|chat| Self::Typing { chat, is_typing: false }),
            ClientEvent::PresenceSubscribe => fields.ids("user_ids", limits.presence_subscriptions).map(Self::Subscribe),
            ClientEvent::PresenceUnsubscribe => fields.ids("user_ids", limits.presence_subscriptions).map(Self::Unsubscribe),
            ClientEvent::Sync => fields.sync(limits),
            ClientEvent::Ping => Some(Self::Ping),
            ClientEvent::MessageEdit => {
                let message = fields.id("message_id");
                let payload = fields.data.get_mut("payload").map(Value::take).unwrap_or_default();
                message.map(|message| Self::Edit { message, payload })
            }
            ClientEvent::MessageReact => {
                let message = fields.id("message_id");
                let emoji = match fields.data.get_mut("emoji").map(Value::take) {
                    Some(Value::String(emoji)) => Some(emoji),
                    Some(Value::Null) => None,
                    _ => {
                        fields.error("emoji", "must be one emoji, or null to take it back");
                        None
                    }
                };
                message.map(|message| Self::React { message, emoji })
            }
            ClientEvent::Call => return Err(unsupported("Calling")),
        };
        match request {
            Some(request) if fields.errors.is_empty() => Ok(request),
            _ => Err(Error::Validation(fields.errors)),
        }
    }
}

fn unsupported(what: &str) -> Error {
    Error::BadRequest(format!("{what} is not supported by this server"))
}

struct Fields {
    data: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    fn of(data: Option<&RawValue>) -> Result<Self> {
        let data = match data.map(|raw| serde_json::from_str(raw.get())) {
            None => Map::new(),
            Some(Ok(Value::Object(data))) => data,
            Some(Ok(_)) => return Err(Error::invalid("data", "must be an object")),
            // The frame was JSON: what is left is nesting deeper than 128.
            Some(Err(_)) => return Err(Error::invalid("data", "is nested too deeply or holds a number out of range")),
        };
        Ok(Self { data, errors: Vec::new() })
    }

    fn error(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.to_owned(), message: message.into() });
    }

    fn string(&mut self, field: &str) -> Option<String> {
        match self.data.get_mut(field).map(Value::take) {
            Some(Value::String(text)) => Some(text),
            _ => {
                self.error(field, "must be a string");
                None
            }
        }
    }

    fn id<T: std::str::FromStr>(&mut self, field: &str) -> Option<T> {
        let id = self.data.get(field).and_then(Value::as_str).and_then(|text| text.parse().ok());
        if id.is_none() {
            self.error(field, "must be a UUID");
        }
        id
    }

    fn ids<T: std::str::FromStr + PartialEq>(&mut self, field: &str, max: usize) -> Option<Vec<T>> {
        let Some(Value::Array(values)) = self.data.get(field) else {
            self.error(field, "must be a list of UUIDs");
            return None;
        };
        if values.is_empty() || values.len() > max {
            self.error(field, format!("must have 1 to {max} entries"));
            return None;
        }
        let ids: Option<Vec<T>> = values.iter().map(|value| value.as_str()?.parse().ok()).collect();
        if ids.is_none() {
            self.error(field, "must be a list of UUIDs");
        }
        ids
    }

    fn send(&mut self, origin: ConnectionId) -> Option<Request> {
        let chat_id = self.id("chat_id");
        let client_msg_id = self.string("client_msg_id");
        let kind = self.string("type");
        let payload = self.data.get_mut("payload").map(Value::take).unwrap_or_default();
        let reply_to_message_id = match self.data.get("reply_to_message_id") {
            None | Some(Value::Null) => None,
            Some(_) => self.id("reply_to_message_id"),
        };
        Some(Request::Send(SendMessage { chat_id: chat_id?, client_msg_id: client_msg_id?, kind: kind?, payload, reply_to_message_id, origin: Some(origin) }))
    }

    fn sync(&mut self, limits: &Limits) -> Option<Request> {
        let chats = match self.data.get_mut("chats").map(Value::take) {
            None | Some(Value::Null) => Some(std::collections::HashMap::new()),
            Some(chats) => std::collections::HashMap::deserialize(chats).ok(),
        };
        match &chats {
            None => self.error("chats", "must be an object of chat ids and revs"),
            Some(chats) if chats.len() > limits.sync_known_chats => self.error("chats", format!("must have at most {} entries", limits.sync_known_chats)),
            Some(_) => {}
        }
        let limit = match self.data.get("limit") {
            None | Some(Value::Null) => None,
            Some(limit) => {
                let limit = limit.as_i64();
                if limit.is_none() {
                    self.error("limit", "must be a whole number");
                }
                limit
            }
        };
        Some(Request::Sync(SyncRequest { chats: chats?, limit }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    const ID: &str = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";

    fn read(event: &str, data: &Value) -> Result<Request> {
        let limits = Limits { receipt_ids: 2, presence_subscriptions: 2, sync_known_chats: 1, ..Limits::default() };
        let text = json!({"event": event, "data": data}).to_string();
        let frame = frame::parse(text.as_bytes(), &limits).expect("a frame");
        Request::read(&frame, ConnectionId::from_uuid(Uuid::nil()), &limits)
    }

    fn bad_fields(event: &str, data: &Value) -> Vec<String> {
        match read(event, data) {
            Err(Error::Validation(fields)) => fields.into_iter().map(|field| field.field).collect(),
            other => panic!("expected field errors, got {other:?}"),
        }
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        assert_eq!(bad_fields("message.send", &json!({"reply_to_message_id": 1})), ["chat_id", "client_msg_id", "type", "reply_to_message_id"]);
        assert_eq!(bad_fields("message.read", &json!(null)), ["chat_id", "up_to_message_id"]);
        assert_eq!(bad_fields("message.delete", &json!({"for": "all"})), ["message_id", "for"]);
        assert_eq!(bad_fields("message.edit", &json!({"payload": {}})), ["message_id"]);
        assert_eq!(bad_fields("message.react", &json!({"message_id": "x"})), ["message_id", "emoji"]);
        assert_eq!(bad_fields("sync", &json!({"chats": {"x": 1}, "limit": 1.5})), ["chats", "limit"]);
        for event in ["message.send", "typing.start", "typing.stop", "presence.subscribe", "sync", "ping"] {
            assert_eq!(bad_fields(event, &json!([])), ["data"], "{event}");
        }
    }

    #[test]
    fn lists_hold_up_to_their_limit_and_not_one_more() {
        for (event, field) in [("message.delivered", "message_ids"), ("presence.subscribe", "user_ids"), ("presence.unsubscribe", "user_ids")] {
            assert!(read(event, &json!({field: [ID, ID]})).is_ok(), "{event}");
            for bad in [json!([ID, ID, ID]), json!([]), json!([ID, 1]), json!(ID), json!(null)] {
                assert_eq!(bad_fields(event, &json!({field: bad})), [field], "{event}");
            }
        }
        assert!(read("sync", &json!({"chats": {ID: 0}, "limit": -1})).is_ok());
        assert_eq!(bad_fields("sync", &json!({"chats": {ID: 0, "018f3f6e-7b1c-7c4e-8a57-0242ac120003": 0}})), ["chats"]);
    }

    #[test]
    fn what_is_not_supported_says_so() {
        for (event, data) in [("call.offer", json!({})), ("call.reject", json!({}))] {
            assert!(matches!(read(event, &data), Err(Error::BadRequest(_))), "{event}");
        }
    }

    #[test]
    fn nothing_but_what_is_needed_is_asked_for() {
        assert!(matches!(read("ping", &json!(null)), Ok(Request::Ping)));
        assert!(matches!(read("sync", &json!({})), Ok(Request::Sync(request)) if request.chats.is_empty() && request.limit.is_none()));
        assert!(matches!(read("message.delete", &json!({"message_id": ID})), Ok(Request::Delete { for_everyone: false, .. })));
        assert!(matches!(read("message.delete", &json!({"message_id": ID, "for": "everyone"})), Ok(Request::Delete { for_everyone: true, .. })));
        assert!(matches!(read("message.react", &json!({"message_id": ID, "emoji": null})), Ok(Request::React { emoji: None, .. })));
        assert!(
            matches!(read("message.edit", &json!({"message_id": ID, "payload": {"body": "x"}})), Ok(Request::Edit { payload, .. }) if payload == json!({"body": "x"}))
        );
        let send = read("message.send", &json!({"chat_id": ID, "client_msg_id": "1", "type": "text", "payload": {"body": "hi"}, "reply_to_message_id": null}));
        assert!(matches!(send, Ok(Request::Send(message)) if message.payload == json!({"body": "hi"}) && message.origin.is_some()));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!(ID)),
            ".{0,5}".prop_map(Value::from)
        ];
        let keys = prop::sample::select(vec![
            "chat_id",
            "message_ids",
            "message_id",
            "user_ids",
            "chats",
            "limit",
            "type",
            "client_msg_id",
            "payload",
            "for",
            "emoji",
            "x",
        ]);
        leaf.prop_recursive(3, 20, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(keys.clone().prop_map(str::to_owned), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_data_makes_a_request_panic(data in any_json()) {
            for event in ["message.send", "message.delivered", "message.read", "message.edit", "message.delete", "message.react", "typing.start", "presence.subscribe", "sync", "ping", "call.end"] {
                let _ = read(event, &data);
            }
        }
    }
}
