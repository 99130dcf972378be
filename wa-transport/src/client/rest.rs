//! The REST methods, one for each route (contract, sections 1.1 to 1.4).

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use wa_core::api::{
    ChatPage, ForwardedMessage, HistoryQuery, LoggedIn, MessagePage, NewStatus, OtpRequested, PrivacyUpdate, RegisterDevice, SearchPage, SearchRequest,
    SyncAnswer, SyncRequest,
};
use wa_core::chat::{AutoDeleteTimer, ChatView, Role};
use wa_core::group::ProfileChange;
use wa_core::id::{ChatId, DeviceId, MessageId, StatusId, UserId};
use wa_core::message::{MessageKind, MessageView};
use wa_core::privacy::PrivacySettings;
use wa_core::receipt::ReceiptView;
use wa_core::session::DeviceView;
use wa_core::status_post::StatusView;
use wa_core::time::Timestamp;
use wa_core::user::{ContactView, PresenceView, Profile, ProfileUpdate, RegisteredUser};

use super::Client;
use super::error::ClientError;
use super::http::Call;
use super::tokens::Tokens;

/// A message to be sent.
#[derive(Clone, PartialEq, Serialize)]
pub struct Outgoing {
    /// The sender's own key, 1 to 128 characters: sending again with the same key sends nothing twice.
    pub client_msg_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// What it says (contract, section 1.4).
    pub payload: Value,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_message_id: Option<MessageId>,
}

impl Outgoing {
    /// A message under a fresh key.
    #[must_use]
    pub fn new(kind: MessageKind, payload: Value) -> Self {
        Self { client_msg_id: Uuid::now_v7().to_string(), kind, payload, reply_to_message_id: None }
    }

    /// A text under a fresh key.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self::new(MessageKind::Text, json!({"body": body.into()}))
    }

    /// Under this key instead.
    #[must_use]
    pub fn with_key(mut self, client_msg_id: impl Into<String>) -> Self {
        self.client_msg_id = client_msg_id.into();
        self
    }

    /// As an answer to this message.
    #[must_use]
    pub const fn in_reply_to(mut self, message: MessageId) -> Self {
        self.reply_to_message_id = Some(message);
        self
    }
}

impl std::fmt::Debug for Outgoing {
    /// Bodies are in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("client_msg_id", &self.client_msg_id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Until when a chat is muted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mute {
    /// Not muted.
    Off,
    /// Until then.
    Until(Timestamp),
    /// For ever.
    Forever,
}

/// An invite into a group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// What [`Client::join`] takes.
    pub code: String,
    /// Where a person follows it.
    pub url: String,
}

impl std::fmt::Debug for Invite {
    /// Whoever reads the code may come in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invite")
    }
}

#[derive(Deserialize)]
struct Registered {
    registered_users: Vec<RegisteredUser>,
}

/// Login and devices (contract, section 1.1).
impl Client {
    /// Has a code sent to a phone. With a development server the answer holds the code.
    ///
    /// # Errors
    /// VALIDATION_ERROR for what is no phone number, RATE_LIMITED, UNAVAILABLE if the code could not be sent.
    pub async fn request_otp(&self, phone: &str) -> Result<OtpRequested, ClientError> {
        self.call(Call::post("/auth/request-otp").public().once().json(json!({"phone": phone}))?).await
    }

    /// Logs in with a code. The tokens are stored and used from here on.
    ///
    /// # Errors
    /// OTP_INVALID, OTP_EXPIRED, OTP_MAX_ATTEMPTS; [`ClientError::TokenStore`] if the tokens could not be stored.
    pub async fn verify_otp(&self, phone: &str, otp: &str, device_name: Option<&str>) -> Result<LoggedIn, ClientError> {
        let body = json!({"phone": phone, "otp": otp, "device_name": device_name});
        let login: LoggedIn = self.call(Call::post("/auth/verify-otp").public().once().json(body)?).await?;
        self.inner.tokens.replace(Tokens::from(&login)).await?;
        Ok(login)
    }

    /// Exchanges the tokens now. Needed by nobody: calls do it when the access token has expired.
    ///
    /// # Errors
    /// [`ClientError::SessionEnded`] if the server refuses.
    pub async fn refresh(&self) -> Result<(), ClientError> {
        let tokens = self.inner.tokens.current().await?;
        self.renew(&tokens.access_token).await
    }

    /// Ends this device's session and forgets its tokens. A session that has ended already is no error.
    ///
    /// # Errors
    /// Those of the call; the tokens are kept then.
    pub async fn logout(&self) -> Result<(), ClientError> {
        let tokens = self.inner.tokens.current().await?;
        // A refresh token alone is enough, and works when the access token has expired.
        let call = match &tokens.refresh_token {
            Some(refresh_token) => Call::post("/auth/logout").public().json(json!({"refresh_token": refresh_token}))?,
            None => Call::post("/auth/logout"),
        };
        match self.act(call).await {
            Err(error) if !error.is_auth() => Err(error),
            Ok(()) | Err(_) => self.inner.tokens.clear().await,
        }
    }

    /// The caller's devices, the newest login first.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn devices(&self) -> Result<Vec<DeviceView>, ClientError> {
        self.call(Call::get("/auth/devices")).await
    }

    /// Ends the session of one of the caller's devices.
    ///
    /// # Errors
    /// NOT_FOUND family if the caller has no such device.
    pub async fn remove_device(&self, device: DeviceId) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, format!("/auth/devices/{device}"))).await
    }
}

/// Users (contract, section 1.2).
impl Client {
    /// The caller's profile.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn me(&self) -> Result<Profile, ClientError> {
        self.call(Call::get("/users/me")).await
    }

    /// Changes the caller's profile; `None` leaves a field as it is.
    ///
    /// # Errors
    /// VALIDATION_ERROR for texts that are too long.
    pub async fn update_me(&self, update: &ProfileUpdate) -> Result<Profile, ClientError> {
        self.call(Call::new(Method::PATCH, "/users/me").json(update)?).await
    }

    /// Erases the caller's account; `confirm` must be their own phone.
    ///
    /// # Errors
    /// VALIDATION_ERROR if it is not.
    pub async fn delete_me(&self, confirm: &str) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, "/users/me").json(json!({"confirm": confirm}))?).await
    }

    /// A user's profile as the caller may see it.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn user(&self, user: UserId) -> Result<Profile, ClientError> {
        self.call(Call::get(format!("/users/{user}"))).await
    }

    /// Finds users by phone and adds them to the caller's contacts. Invalid numbers are skipped.
    ///
    /// # Errors
    /// VALIDATION_ERROR for none or more than 1000 numbers.
    pub async fn sync_contacts(&self, phone_numbers: &[String]) -> Result<Vec<RegisteredUser>, ClientError> {
        let found: Registered = self.call(Call::post("/users/contacts/sync").json(json!({"phone_numbers": phone_numbers}))?).await?;
        Ok(found.registered_users)
    }

    /// The caller's contacts and blocked users.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn contacts(&self) -> Result<Vec<ContactView>, ClientError> {
        self.call(Call::get("/users/contacts")).await
    }

    /// Shows a status to the caller's mutual contacts for a day.
    ///
    /// # Errors
    /// VALIDATION_ERROR; CONFLICT past the number one can show.
    pub async fn post_status(&self, new: &NewStatus) -> Result<StatusView, ClientError> {
        self.call(Call::post("/users/statuses").json(new)?).await
    }

    /// What the caller's mutual contacts show, newest first.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn statuses(&self) -> Result<Vec<StatusView>, ClientError> {
        self.call(Call::get("/users/statuses")).await
    }

    /// The caller's own statuses, newest first, with who has seen them.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn own_statuses(&self) -> Result<Vec<StatusView>, ClientError> {
        self.call(Call::get("/users/statuses/me")).await
    }

    /// Takes one of the caller's own statuses back.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn delete_status(&self, status: StatusId) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, format!("/users/statuses/{status}"))).await
    }

    /// Tells the owner that the caller has seen a status; repeating it changes nothing.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn view_status(&self, status: StatusId) -> Result<(), ClientError> {
        self.act(Call::post(format!("/users/statuses/{status}/view"))).await
    }

    /// Registers this device for pushes.
    ///
    /// # Errors
    /// VALIDATION_ERROR.
    pub async fn register_push(&self, device: &RegisterDevice) -> Result<(), ClientError> {
        self.act(Call::new(Method::PUT, "/users/me/fcm-token").json(device)?).await
    }

    /// Ends pushes to this device.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn forget_push(&self) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, "/users/me/fcm-token")).await
    }

    /// Blocks a user.
    ///
    /// # Errors
    /// BAD_REQUEST for oneself, NOT_FOUND family.
    pub async fn block(&self, user: UserId) -> Result<(), ClientError> {
        self.act(Call::post(format!("/users/{user}/block"))).await
    }

    /// Ends a block.
    ///
    /// # Errors
    /// As for [`Self::block`].
    pub async fn unblock(&self, user: UserId) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, format!("/users/{user}/block"))).await
    }

    /// Whether a user is there, as the caller may see it.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn presence(&self, user: UserId) -> Result<PresenceView, ClientError> {
        self.call(Call::get(format!("/users/{user}/presence"))).await
    }

    /// The caller's privacy settings.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn privacy(&self) -> Result<PrivacySettings, ClientError> {
        self.call(Call::get("/users/me/privacy")).await
    }

    /// Changes the caller's privacy settings; `None` leaves one as it is.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn set_privacy(&self, update: &PrivacyUpdate) -> Result<PrivacySettings, ClientError> {
        self.call(Call::new(Method::PUT, "/users/me/privacy").json(update)?).await
    }
}

/// Chats (contract, section 1.3).
impl Client {
    /// The direct chat with a user, made if there is none.
    ///
    /// # Errors
    /// NOT_FOUND family for an unknown user.
    pub async fn create_direct(&self, user: UserId) -> Result<ChatView, ClientError> {
        self.call(Call::post("/chats").json(json!({"type": "direct", "participant_id": user}))?).await
    }

    /// A page of the caller's chats, pinned first, then newest activity; 20 if `limit` is absent, 100 at most.
    ///
    /// # Errors
    /// BAD_REQUEST for a cursor that no answer held.
    pub async fn chats(&self, cursor: Option<&str>, limit: Option<u32>) -> Result<ChatPage, ClientError> {
        self.call(Call::get("/chats").query("cursor", cursor).query("limit", limit)).await
    }

    /// A chat with its participants.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn chat(&self, chat: ChatId) -> Result<ChatView, ClientError> {
        self.call(Call::get(format!("/chats/{chat}"))).await
    }

    /// Mutes or unmutes a chat for the caller.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn mute(&self, chat: ChatId, mute: Mute) -> Result<(), ClientError> {
        let body = match mute {
            Mute::Off => json!({"is_muted": false}),
            Mute::Until(until) => json!({"is_muted": true, "mute_until": until}),
            Mute::Forever => json!({"is_muted": true}),
        };
        self.act(Call::new(Method::PATCH, format!("/chats/{chat}/mute")).json(body)?).await
    }

    /// Pins or unpins a chat for the caller.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn pin(&self, chat: ChatId, is_pinned: bool) -> Result<(), ClientError> {
        self.act(Call::new(Method::PUT, format!("/chats/{chat}/pin")).json(json!({"is_pinned": is_pinned}))?).await
    }
}

/// Groups (contract, section 1.3).
impl Client {
    /// Makes a group of these people, of which the caller is the admin.
    ///
    /// # Errors
    /// VALIDATION_ERROR, NOT_FOUND family naming unknown users, FORBIDDEN where a block stands between, GROUP_FULL.
    pub async fn create_group(&self, name: &str, description: &str, users: &[UserId]) -> Result<ChatView, ClientError> {
        let body = json!({"type": "group", "name": name, "description": description, "participant_ids": users});
        // Not repeated: a second request would make a second group.
        self.call(Call::post("/chats").once().json(body)?).await
    }

    /// Changes a group; `None` leaves a field as it is. For admins.
    ///
    /// # Errors
    /// VALIDATION_ERROR, NOT_ADMIN, NOT_CHAT_MEMBER, NOT_FOUND family.
    pub async fn update_group(&self, chat: ChatId, change: &ProfileChange) -> Result<ChatView, ClientError> {
        self.call(Call::new(Method::PATCH, format!("/chats/{chat}")).json(change)?).await
    }

    /// Adds people to a group. For admins.
    ///
    /// # Errors
    /// As for [`Self::create_group`] and [`Self::update_group`]; ALREADY_MEMBER if all of them are in it.
    pub async fn add_members(&self, chat: ChatId, users: &[UserId]) -> Result<(), ClientError> {
        self.act(Call::post(format!("/chats/{chat}/participants")).json(json!({"user_ids": users}))?).await
    }

    /// Removes somebody from a group, for admins; or leaves it, if that is the caller.
    ///
    /// # Errors
    /// NOT_ADMIN, NOT_CHAT_MEMBER, NOT_FOUND family.
    pub async fn remove_member(&self, chat: ChatId, user: UserId) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, format!("/chats/{chat}/participants/{user}"))).await
    }

    /// Makes a member an admin or the reverse. For admins.
    ///
    /// # Errors
    /// NOT_ADMIN, NOT_CHAT_MEMBER, LAST_ADMIN, NOT_FOUND family.
    pub async fn set_role(&self, chat: ChatId, user: UserId, role: Role) -> Result<(), ClientError> {
        self.act(Call::new(Method::PATCH, format!("/chats/{chat}/participants/{user}/role")).json(json!({"role": role}))?).await
    }

    /// Sets when messages sent from now on disappear: anybody in a direct chat, admins in a group.
    ///
    /// # Errors
    /// NOT_ADMIN, NOT_CHAT_MEMBER, USER_BLOCKED, NOT_FOUND family.
    pub async fn set_timer(&self, chat: ChatId, timer: AutoDeleteTimer) -> Result<(), ClientError> {
        self.call::<Value>(Call::new(Method::PUT, format!("/chats/{chat}/disappearing")).json(json!({"timer": timer}))?).await.map(drop)
    }

    /// A new invite into a group, which revokes the one before. For admins.
    ///
    /// # Errors
    /// NOT_ADMIN, NOT_CHAT_MEMBER, NOT_FOUND family.
    pub async fn create_invite(&self, chat: ChatId) -> Result<Invite, ClientError> {
        self.call(Call::post(format!("/chats/{chat}/invite"))).await
    }

    /// Revokes the invite of a group, if there is one. For admins.
    ///
    /// # Errors
    /// As for [`Self::create_invite`].
    pub async fn revoke_invite(&self, chat: ChatId) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, format!("/chats/{chat}/invite"))).await
    }

    /// Comes into a group by the code of an invite; who is in already finds it.
    ///
    /// # Errors
    /// NOT_FOUND for a code that is unknown or was revoked, GROUP_FULL.
    pub async fn join(&self, code: &str) -> Result<ChatView, ClientError> {
        self.call(Call::post("/chats/join").json(json!({"code": code}))?).await
    }
}

/// Messages (contract, section 1.4).
impl Client {
    /// A page of a chat's history: newest first, or oldest first with `after_seq`.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn history(&self, chat: ChatId, query: HistoryQuery) -> Result<MessagePage, ClientError> {
        let call = Call::get(format!("/chats/{chat}/messages"));
        self.call(call.query("cursor", query.cursor).query("after_seq", query.after_seq).query("limit", query.limit)).await
    }

    /// Sends a message over REST. When this returns, it is durable. Repeated by itself while the server is unavailable.
    ///
    /// # Errors
    /// VALIDATION_ERROR, NOT_CHAT_MEMBER, USER_BLOCKED, NOT_FOUND family; CONFLICT if the key was used for another message.
    pub async fn send(&self, chat: ChatId, message: &Outgoing) -> Result<MessageView, ClientError> {
        self.call(Call::post(format!("/chats/{chat}/messages")).json(message)?).await
    }

    /// The messages that match, best first, of one chat or of all the caller's.
    ///
    /// # Errors
    /// VALIDATION_ERROR for an empty or too long query, BAD_REQUEST for a cursor of another search, NOT_FOUND family.
    pub async fn search(&self, request: &SearchRequest) -> Result<SearchPage, ClientError> {
        let call = match request.chat {
            Some(chat) => Call::get(format!("/chats/{chat}/messages/search")),
            None => Call::get("/messages/search"),
        };
        self.call(call.query("q", Some(&request.query)).query("cursor", request.cursor.as_ref()).query("limit", request.limit)).await
    }

    /// Marks everything in a chat up to a message as read.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn mark_read(&self, chat: ChatId, up_to: MessageId) -> Result<(), ClientError> {
        self.act(Call::post(format!("/chats/{chat}/messages/read")).json(json!({"up_to_message_id": up_to}))?).await
    }

    /// How far a message got with each recipient.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn receipts(&self, message: MessageId) -> Result<Vec<ReceiptView>, ClientError> {
        self.call(Call::get(format!("/messages/{message}/receipts"))).await
    }

    /// Hides a message from the caller alone.
    ///
    /// # Errors
    /// NOT_FOUND family.
    pub async fn delete_for_me(&self, message: MessageId) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, format!("/messages/{message}")).query("for", Some("me"))).await
    }

    /// Deletes a message for everyone: the sender's right, and in a group its admins'.
    ///
    /// # Errors
    /// FORBIDDEN, NOT_FOUND family.
    pub async fn delete_for_everyone(&self, message: MessageId) -> Result<(), ClientError> {
        self.act(Call::new(Method::DELETE, format!("/messages/{message}")).query("for", Some("everyone"))).await
    }

    /// Changes one of the caller's own messages: `{"body": …}` of a text, `{"caption": …}` of a file.
    ///
    /// # Errors
    /// FORBIDDEN for another's message and after the window for edits; CONFLICT for a deleted one; VALIDATION_ERROR,
    /// NOT_FOUND family.
    pub async fn edit(&self, message: MessageId, payload: &Value) -> Result<MessageView, ClientError> {
        self.call(Call::new(Method::PATCH, format!("/messages/{message}")).json(json!({"payload": payload}))?).await
    }

    /// Sends a message on to other chats, all of them or none. Repeated by itself while the server is unavailable, it sends
    /// nothing twice.
    ///
    /// # Errors
    /// VALIDATION_ERROR for no chat or more than 20; what sending to one of them may be refused with; CONFLICT for a deleted
    /// message; NOT_FOUND family.
    pub async fn forward(&self, message: MessageId, to: &[ChatId]) -> Result<Vec<ForwardedMessage>, ClientError> {
        #[derive(Deserialize)]
        struct Made {
            forwarded_messages: Vec<ForwardedMessage>,
        }
        let key = Uuid::now_v7().to_string();
        let call = Call::post(format!("/messages/{message}/forward")).idempotency_key(&key).json(json!({"target_chat_ids": to}))?;
        Ok(self.call::<Made>(call).await?.forwarded_messages)
    }

    /// Sets the caller's reaction to a message, in place of any other, or takes it back.
    ///
    /// # Errors
    /// VALIDATION_ERROR for what is not one emoji, USER_BLOCKED, CONFLICT for a deleted message, NOT_FOUND family.
    pub async fn react(&self, message: MessageId, emoji: Option<&str>) -> Result<(), ClientError> {
        let path = format!("/messages/{message}/react");
        match emoji {
            Some(emoji) => self.act(Call::post(path).json(json!({"emoji": emoji}))?).await,
            None => self.act(Call::new(Method::DELETE, path)).await,
        }
    }

    /// Stars a message for the caller alone, or takes the star back.
    ///
    /// # Errors
    /// CONFLICT for a deleted message, NOT_FOUND family.
    pub async fn star(&self, message: MessageId, is_starred: bool) -> Result<(), ClientError> {
        let method = if is_starred { Method::POST } else { Method::DELETE };
        self.act(Call::new(method, format!("/messages/{message}/star"))).await
    }

    /// A page of the caller's starred messages, newest star first; 20 if `limit` is absent, 100 at most.
    ///
    /// # Errors
    /// BAD_REQUEST for a cursor that no answer held.
    pub async fn starred(&self, cursor: Option<&str>, limit: Option<u32>) -> Result<MessagePage, ClientError> {
        self.call(Call::get("/messages/starred").query("cursor", cursor).query("limit", limit)).await
    }

    /// What changed above the revisions the caller names (contract, section 3.5).
    ///
    /// # Errors
    /// VALIDATION_ERROR for a map that is too large.
    pub async fn sync(&self, request: &SyncRequest) -> Result<SyncAnswer, ClientError> {
        self.call(Call::post("/sync").json(request)?).await
    }
}
