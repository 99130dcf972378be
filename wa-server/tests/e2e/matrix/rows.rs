//! The rule of every operation: what it acts on, who may do it, and what it answers. An operation without a row fails
//! the test, so does a row without an operation.

use serde_json::{Value, json};

use super::Outcome::{self, Done, Refused};
use super::{Caller, Object};

/// What an operation acts on, and so who is asked to try it on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// Nothing of anybody's: no token is needed.
    Nobody,
    /// The caller's own.
    Caller,
    User,
    Device,
    Status,
    Chat,
    Message,
    /// An uploaded file.
    File,
}

/// Who of those who may see it may do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Anybody,
    /// An admin, and the chat must be a group.
    Admin,
    /// An admin in a group, anybody in a direct chat.
    AdminIfGroup,
    /// The sender of the message.
    Sender,
    /// The sender, or an admin of the group.
    SenderOrAdmin,
}

/// A rule.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) on: On,
    /// `$chat`, `$message` and the like stand for the scene's ids.
    pub(super) body: Value,
    /// The part of a form that is sent instead, with a picture in it.
    pub(super) part: Option<&'static str>,
    /// What is appended to the path.
    pub(super) query: &'static str,
    pub(super) ok: u16,
    pub(super) needs: Needs,
    /// Whether it fails on a message that was deleted for everyone.
    pub(super) refuses_tombstones: bool,
    /// Whether ids that the caller may not know are passed over instead of being refused.
    pub(super) passes_over: bool,
    /// What a caller gets on an object in spite of everything else.
    pub(super) but: Vec<(Caller, Object, Outcome)>,
}

const fn row(on: On, ok: u16) -> Row {
    Row { on, body: Value::Null, part: None, query: "", ok, needs: Needs::Anybody, refuses_tombstones: false, passes_over: false, but: Vec::new() }
}

impl Row {
    fn body(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    const fn part(mut self, part: &'static str) -> Self {
        self.part = Some(part);
        self
    }

    const fn query(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }

    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    const fn live_only(mut self) -> Self {
        self.refuses_tombstones = true;
        self
    }

    const fn passes_over(mut self) -> Self {
        self.passes_over = true;
        self
    }

    fn but(mut self, caller: Caller, object: Object, outcome: Outcome) -> Self {
        self.but.push((caller, object, outcome));
        self
    }

    /// What must come of it.
    pub(super) fn outcome(&self, caller: Caller, object: Object) -> Outcome {
        if let Some((.., outcome)) = self.but.iter().find(|(of, on, _)| (*of, *on) == (caller, object)) {
            return *outcome;
        }
        if self.passes_over {
            return Done(self.ok);
        }
        let absent = match self.on {
            On::Nobody | On::Caller => return Done(self.ok),
            On::User => Refused(404, "USER_NOT_FOUND"),
            On::Device => Refused(404, "DEVICE_NOT_FOUND"),
            On::Status => Refused(404, "NOT_FOUND"),
            On::Chat => Refused(404, "CHAT_NOT_FOUND"),
            On::Message => Refused(404, "MESSAGE_NOT_FOUND"),
            On::File => Refused(404, "NOT_FOUND"),
        };
        let may = match (object, caller) {
            (Object::Absent | Object::Gone | Object::Hidden | Object::Withheld, _) => return absent,
            (Object::UnsentFile, _) => return absent,
            (Object::SentFile, Caller::Stranger | Caller::Left | Caller::Kicked) => return absent,
            (Object::Self_ | Object::OwnDevice | Object::OtherUser | Object::OwnFile | Object::SentFile | Object::OwnStatus, _) => true,
            // Whose status it is does not matter to who may not delete it.
            (Object::OtherStatus, _) if self.needs == Needs::Sender => return absent,
            (Object::OtherDevice, _) | (_, Caller::Stranger) => return absent,
            (_, Caller::Left | Caller::Kicked) => return Refused(403, "NOT_CHAT_MEMBER"),
            (Object::Pair | Object::Quarrel, _) if self.needs == Needs::Admin => return Refused(422, "VALIDATION_ERROR"),
            (Object::Tombstone, _) if self.refuses_tombstones => return Refused(409, "CONFLICT"),
            (_, Caller::Admin) => self.needs != Needs::Sender || object == Object::Own,
            (Object::Own, _) => true,
            (Object::Pair | Object::Quarrel, _) => true,
            _ => self.needs == Needs::Anybody,
        };
        match self.on {
            _ if may => Done(self.ok),
            On::Chat => Refused(403, "NOT_ADMIN"),
            _ => Refused(403, "FORBIDDEN"),
        }
    }
}

/// A text to send.
fn text() -> Value {
    json!({ "client_msg_id": "$fresh", "type": "text", "payload": { "body": "hello" } })
}

/// Sending in a chat whose other side one has blocked, and reading what one was kept from.
fn send(row: Row) -> Row {
    row.but(Caller::Blocker, Object::Quarrel, Refused(403, "USER_BLOCKED"))
}

/// The rule of an operation: a method and a path of the REST document, or the name of a client event.
pub(super) fn of(operation: &str) -> Option<Row> {
    use Needs::{Admin, AdminIfGroup, Sender, SenderOrAdmin};
    Some(match operation {
        "GET /health" | "GET /ready" | "GET /metrics" | "GET /openapi.json" => row(On::Nobody, 200),
        "POST /auth/request-otp" => row(On::Nobody, 200).body(json!({ "phone": "+15550109999" })),
        "POST /auth/verify-otp" => row(On::Nobody, 200).body(json!({ "phone": "$otp_phone", "otp": "$otp" })),
        "POST /auth/refresh" => row(On::Nobody, 200).body(json!({ "refresh_token": "$refresh" })),
        // With a token of its own it asks for no other.
        "POST /auth/logout" => row(On::Caller, 200),
        "GET /auth/devices" => row(On::Caller, 200),
        "DELETE /auth/devices/{id}" => row(On::Device, 204),

        "GET /users/me" | "GET /users/me/privacy" | "GET /users/contacts" | "GET /chats" | "GET /messages/starred" => row(On::Caller, 200),
        "GET /messages/search" => row(On::Caller, 200).query("?q=hello"),
        "PATCH /users/me" => row(On::Caller, 200).body(json!({ "status_text": "busy" })),
        "DELETE /users/me" => row(On::Caller, 204).body(json!({ "confirm": "$phone" })),
        "PUT /users/me/privacy" => row(On::Caller, 200).body(json!({ "about": "nobody" })),
        "POST /users/contacts/sync" => row(On::Caller, 200).body(json!({ "phone_numbers": ["+15550109999"] })),
        "GET /users/{id}" | "GET /users/{id}/presence" => row(On::User, 200),
        "POST /users/{id}/block" | "DELETE /users/{id}/block" => row(On::User, 204)
            .but(Caller::Member, Object::Self_, Refused(400, "BAD_REQUEST"))
            .but(Caller::Stranger, Object::Self_, Refused(400, "BAD_REQUEST"))
            .but(Caller::Blocked, Object::Self_, Refused(400, "BAD_REQUEST")),

        "GET /users/statuses" | "GET /users/statuses/me" => row(On::Caller, 200),
        "POST /users/statuses" => row(On::Caller, 201).body(json!({ "type": "text", "content": "hello" })),
        "DELETE /users/statuses/{id}" => row(On::Status, 204).needs(Sender),
        "POST /users/statuses/{id}/view" => row(On::Status, 204),

        "POST /media/upload" => row(On::Caller, 201).part("file"),
        "PUT /users/me/avatar" => row(On::Caller, 200).part("avatar"),
        "PUT /chats/{id}/avatar" => row(On::Chat, 200).part("avatar").needs(Admin),
        // What these lead to is fetched, too.
        "GET /media/{id}" | "GET /media/{id}/download" => row(On::File, 200),
        "GET /media/avatars/{id}" => row(On::Nobody, 200),
        // A token of each caller's own, or the rows would take it from each other.
        "PUT /users/me/fcm-token" => row(On::Caller, 204).body(json!({ "token": "$fresh" })),
        "DELETE /users/me/fcm-token" => row(On::Caller, 204).body(json!({ "token": "$fresh" })),
        "GET /push/vapid-key" => row(On::Caller, 200),

        "POST /chats" => row(On::Caller, 201).body(json!({ "type": "direct", "participant_id": "$nobody_yet" })),
        "POST /sync" => row(On::Chat, 200).body(json!({ "chats": { "$chat": 0 } })).passes_over(),
        "GET /chats/{id}" | "GET /chats/{id}/messages" => row(On::Chat, 200),
        "GET /chats/{id}/messages/search" => row(On::Chat, 200).query("?q=hello"),
        "PATCH /chats/{id}/mute" => row(On::Chat, 204).body(json!({ "is_muted": true })),
        "PUT /chats/{id}/pin" => row(On::Chat, 204).body(json!({ "is_pinned": true })),
        "POST /chats/{id}/messages" => send(row(On::Chat, 201).body(text())),
        "POST /chats/{id}/messages/read" => row(On::Chat, 204).body(json!({ "up_to_message_id": "$newest" })),
        "PATCH /chats/{id}" => row(On::Chat, 200).body(json!({ "name": "A name" })).needs(Admin),
        "POST /chats/{id}/participants" => row(On::Chat, 204).body(json!({ "user_ids": ["$nobody_yet"] })).needs(Admin),
        "DELETE /chats/{id}/participants/{user_id}" => row(On::Chat, 204).needs(Admin),
        "PATCH /chats/{id}/participants/{user_id}/role" => row(On::Chat, 204).body(json!({ "role": "admin" })).needs(Admin),
        // The change is told in the chat, as by a message.
        "PUT /chats/{id}/disappearing" => send(row(On::Chat, 200).body(json!({ "timer": "24h" })).needs(AdminIfGroup)),
        "POST /chats/{id}/invite" => row(On::Chat, 201).needs(Admin),
        "DELETE /chats/{id}/invite" => row(On::Chat, 204).needs(Admin),
        "POST /chats/join" => row(On::Caller, 200).body(json!({ "code": "$code" })),

        "GET /messages/{id}/receipts" => row(On::Message, 200),
        "DELETE /messages/{id}" => row(On::Message, 204).query("?for=everyone").needs(SenderOrAdmin),
        "PATCH /messages/{id}" => row(On::Message, 200).body(json!({ "payload": { "body": "changed" } })).needs(Sender).live_only(),
        "POST /messages/{id}/forward" => row(On::Message, 201).body(json!({ "target_chat_ids": ["$own_chat"] })).live_only(),
        "POST /messages/{id}/star" => row(On::Message, 204).live_only(),
        "DELETE /messages/{id}/star" => row(On::Message, 204),
        "POST /messages/{id}/react" => row(On::Message, 204).body(json!({ "emoji": "👍" })).live_only(),
        "DELETE /messages/{id}/react" => row(On::Message, 204),

        "message.send" => {
            let mut body = text();
            body["chat_id"] = json!("$chat");
            send(row(On::Chat, 200).body(body))
        }
        "message.delivered" => row(On::Message, 200).body(json!({ "message_ids": ["$message"] })).passes_over(),
        "message.read" => row(On::Chat, 200).body(json!({ "chat_id": "$chat", "up_to_message_id": "$newest" })),
        "message.edit" => row(On::Message, 200).body(json!({ "message_id": "$message", "payload": { "body": "changed" } })).needs(Sender).live_only(),
        "message.delete" => row(On::Message, 200).body(json!({ "message_id": "$message", "for": "everyone" })).needs(SenderOrAdmin),
        "message.react" => row(On::Message, 200).body(json!({ "message_id": "$message", "emoji": "👍" })).live_only(),
        "typing.start" | "typing.stop" => row(On::Chat, 200).body(json!({ "chat_id": "$chat" })),
        "presence.subscribe" | "presence.unsubscribe" => row(On::User, 200).body(json!({ "user_ids": ["$user"] })).passes_over(),
        "sync" => row(On::Chat, 200).body(json!({ "chats": { "$chat": 0 } })).passes_over(),
        "ping" => row(On::Caller, 200),
        name if name.starts_with("call.") => row(On::Caller, 400).body(json!({ "target_user_id": "$user" })),
        _ => return None,
    })
}
