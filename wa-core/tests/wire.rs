//! Snapshots of every type of the core that goes over the wire, and of the table of error codes: a change of what clients
//! see shows here first. After a wanted change, `INSTA_UPDATE=always cargo test -p wa-core --test wire` and a look at the diff.

use std::collections::BTreeMap;
use std::time::Duration;

use insta::assert_snapshot;
use serde::Serialize;
use uuid::Uuid;
use wa_core::api::{ChatPage, LoggedIn, LoggedInUser, MessagePage, OtpRequested, PrivacyUpdate, SyncAnswer, SyncChat, SyncRequest};
use wa_core::chat::{AutoDeleteTimer, ChatKind, ChatView, LastMessage, Participant, Peer, Role};
use wa_core::emoji::Emoji;
use wa_core::error::{Conflict, Denied, Error, FieldError, Missing, OtpRefusal, TooLarge, Unauthenticated};
use wa_core::event::{
    ChatChanges, ChatUpdated, Event, Fact, MemberChanged, MessageDeleted, MessageEdited, MessageNew, MessageReaction, MessageStarred, MessageStatus,
};
use wa_core::group::ProfileChange;
use wa_core::id::{ChatId, ConnectionId, DeviceId, EventId, MediaId, MessageId, UserId};
use wa_core::message::{
    Audio, Content, Document, Location, Mention, Message, MessageKind, MessageView, Picture, Reaction, ReplyPreview, Rev, Seq, Source, System, Text,
};
use wa_core::privacy::PrivacySettings;
use wa_core::receipt::{Located, MarksView, ReceiptView, Status};
use wa_core::session::DeviceView;
use wa_core::star::StarMark;
use wa_core::time::Timestamp;
use wa_core::user::{ContactView, PresenceView, Profile, ProfileUpdate, RegisteredUser};

/// The very text that goes over the wire, only spread over lines.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("is JSON")
}

fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(0x018f_3f6e_7b1c_7000_8000_0000_0000_0000 + number))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
}

fn message(content: Option<Content>) -> Message {
    Message {
        id: id(30),
        chat_id: id(20),
        sender_id: id(1),
        client_msg_id: "client-1".to_owned(),
        seq: Seq::new(7),
        rev: Rev::new(9),
        kind: content.as_ref().map_or(MessageKind::Text, Content::kind),
        content,
        reply_to: None,
        forwarded_from: None,
        withheld_from: None,
        edited_at: None,
        expires_at: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn text(body: &str) -> Content {
    Content::Text(Text { body: body.to_owned(), mentions: vec![] })
}

fn message_view() -> MessageView {
    let message = Message {
        reply_to: Some(id(29)),
        forwarded_from: Some(Source { chat_id: id(21), message_id: id(31) }),
        edited_at: Some(at(2)),
        expires_at: Some(at(86_400)),
        ..message(Some(text("hello")))
    };
    let preview =
        ReplyPreview { message_id: id(29), sender_id: id(2), sender_name: "Bob".to_owned(), kind: MessageKind::Image, preview: "📷 Photo".to_owned() };
    let reactions = vec![Reaction { emoji: "👍".to_owned(), user_id: id(2), timestamp: at(3) }];
    MessageView { reactions, is_starred: true, ..MessageView::of(&message, Status::Delivered, Some(preview)) }
}

fn chat_view() -> ChatView {
    let peer = Peer { id: id(2), display_name: "Bob".to_owned(), avatar_url: None };
    ChatView {
        chat_id: id(20),
        kind: ChatKind::Direct,
        name: peer.display_name.clone(),
        description: String::new(),
        avatar_url: peer.avatar_url.clone(),
        participants: vec![
            Participant { user_id: id(1), display_name: "Alice".to_owned(), avatar_url: Some(String::new()), role: Role::Member, joined_at: at(0) },
            Participant { user_id: id(2), display_name: "Bob".to_owned(), avatar_url: None, role: Role::Admin, joined_at: at(0) },
        ],
        participant: Some(peer),
        last_message: Some(LastMessage {
            message_id: id(30),
            sender_id: id(1),
            kind: MessageKind::Text,
            preview: "hello".to_owned(),
            timestamp: at(1),
            seq: Seq::new(7),
        }),
        unread_count: 3,
        is_muted: true,
        mute_until: Some(at(3600)),
        is_pinned: true,
        is_admin_only: false,
        auto_delete_timer: AutoDeleteTimer::Week,
        last_seq: Seq::new(7),
        rev: Rev::new(9),
        created_at: at(0),
        updated_at: at(1),
    }
}

#[test]
fn the_message_object() {
    assert_snapshot!("message", json(&message_view()));
    assert_snapshot!("message_plain", json(&MessageView::of(&message(Some(text("hello"))), Status::Sent, None)));
    assert_snapshot!("message_tombstone", json(&MessageView::of(&message(None), Status::Read, None)));
    assert_snapshot!("message_page", json(&MessagePage { messages: vec![], next_cursor: Some("7".to_owned()), has_more: true }));
}

#[test]
fn the_payload_of_every_type() {
    let media_id: MediaId = id(40);
    let picture = Picture { media_id, caption: Some("at the sea".to_owned()) };
    let contents = [
        Content::Text(Text { body: "hello @Bob".to_owned(), mentions: vec![Mention { user_id: id(2), offset: 6, length: 4 }] }),
        Content::Image(picture.clone()),
        Content::Video(picture),
        Content::Audio(Audio { media_id, duration_ms: Some(1500), waveform: Some(vec![0, 128, 255]) }),
        Content::Document(Document { media_id, filename: Some("a.pdf".to_owned()), caption: None }),
        Content::Location(Location { latitude: 51.5, longitude: -0.12, name: None, address: None }),
        Content::System(System { body: "Alice created the group".to_owned(), action: "group_created".to_owned() }),
    ];
    let payloads: BTreeMap<&str, _> = contents.iter().map(|content| (content.kind().as_str(), content.payload().to_value())).collect();
    assert_snapshot!("payloads", json(&payloads));
    let previews: Vec<String> = contents.iter().map(Content::preview).collect();
    assert_snapshot!("previews", json(&previews));
}

#[test]
fn the_chat_object() {
    assert_snapshot!("chat", json(&chat_view()));
    assert_snapshot!("chat_page", json(&ChatPage { chats: vec![], next_cursor: None, has_more: false }));
}

#[test]
fn logins() {
    let user = LoggedInUser { id: id(1), phone: "+15550100001".to_owned(), display_name: "Alice".to_owned(), is_new_user: true };
    let logged_in = LoggedIn {
        access_token: "header.claims.signature".to_owned(),
        refresh_token: "refresh".to_owned(),
        expires_in: 900,
        expires_in_seconds: 900,
        user,
        is_new_user: true,
        device_id: id(10),
    };
    assert_snapshot!("logged_in", json(&logged_in));
    assert_snapshot!("logged_in_debug", format!("{logged_in:?}"));
    let mut requested = OtpRequested { request_id: id(50), message: "A code was sent".to_owned(), expires_in_seconds: 300, otp: None };
    assert_snapshot!("otp_requested", json(&requested));
    requested.otp = Some("123456".to_owned());
    assert_snapshot!("otp_requested_echoed", json(&requested));
    let device = DeviceView { device_id: id(10), name: "Pixel 9".to_owned(), platform: None, created_at: at(0), last_active_at: at(60), current: true };
    assert_snapshot!("device", json(&device));
}

#[test]
fn users() {
    let profile = Profile {
        id: id(2),
        phone: String::new(),
        display_name: "Bob".to_owned(),
        avatar_url: None,
        status_text: Some("Hey there! I am using WhatsApp.".to_owned()),
        created_at: at(0),
        updated_at: at(1),
    };
    assert_snapshot!("profile", json(&profile));
    let registered = RegisteredUser {
        phone: "+15550100002".to_owned(),
        user_id: id(2),
        display_name: "Bob".to_owned(),
        avatar_url: Some("/media/1".to_owned()),
        status_text: None,
    };
    assert_snapshot!("registered_user", json(&registered));
    let contact = ContactView {
        user_id: id(2),
        phone: "+15550100002".to_owned(),
        nickname: String::new(),
        display_name: "Bob".to_owned(),
        avatar_url: None,
        is_blocked: true,
        created_at: at(0),
    };
    assert_snapshot!("contact", json(&contact));
    assert_snapshot!("presence", json(&PresenceView { user_id: id(2), online: true, last_seen: Some(at(5)) }));
    assert_snapshot!("presence_hidden", json(&PresenceView::hidden(id(2))));
    assert_snapshot!("privacy", json(&PrivacySettings::default()));
}

#[test]
fn requests_may_leave_fields_out() {
    let empty: ProfileUpdate = serde_json::from_str("{}").expect("is an update of nothing");
    assert_eq!(empty, ProfileUpdate::default());
    let empty: PrivacyUpdate = serde_json::from_str("{\"unknown\": 1}").expect("is an update of nothing");
    assert_eq!(empty, PrivacyUpdate::default());
    let request: SyncRequest = serde_json::from_str("{}").expect("asks for everything");
    assert!(request.chats.is_empty() && request.limit.is_none());
    for bad in [r#"{"chats": {"x": 1}}"#, r#"{"chats": {"018f3f6e-7b1c-7000-8000-000000000001": "1"}}"#, r#"{"chats": []}"#, r#"{"limit": 1.5}"#] {
        assert!(serde_json::from_str::<SyncRequest>(bad).is_err(), "{bad}");
    }
}

#[test]
fn receipts_and_sync() {
    let receipt = ReceiptView { user_id: id(2), status: Status::Delivered, timestamp: at(2), delivered_at: Some(at(2)), read_at: None, updated_at: at(2) };
    assert_snapshot!("receipt", json(&receipt));
    let answer = SyncAnswer {
        chats: vec![SyncChat {
            chat: chat_view(),
            rev: Rev::new(8),
            history_from_seq: Seq::new(3),
            messages: vec![message_view()],
            hidden_message_ids: vec![id(28)],
            stars: vec![StarMark { message_id: id(27), is_starred: true }],
            receipts: vec![MarksView { user_id: id(2), delivered_up_to_seq: Seq::new(7), read_up_to_seq: Seq::ZERO, delivered_beyond: vec![] }],
            limited: true,
        }],
        removed_chat_ids: vec![id(22)],
        complete: false,
    };
    assert_snapshot!("sync_answer", json(&answer));
}

#[test]
fn events() {
    let (chat_id, message_id): (ChatId, MessageId) = (id(20), id(30));
    let (user_id, origin): (UserId, ConnectionId) = (id(2), id(60));
    let new = MessageNew {
        message: MessageView::of(&message(Some(text("hello"))), Status::Sent, None).into(),
        answered: None,
        withheld_from: None,
        chat_kind: ChatKind::Direct,
        sender_name: "Alice".to_owned(),
        origin: Some(origin),
    };
    let status = MessageStatus {
        chat_id,
        message_id,
        seq: Seq::new(7),
        from_seq: Some(Seq::new(5)),
        user_id,
        status: Status::Read,
        sender_ids: vec![id(1)],
        origin: None,
    };
    let deleted = MessageDeleted {
        message_id,
        chat_id,
        seq: Seq::new(7),
        rev: Rev::new(10),
        deleted_by: user_id,
        for_everyone: false,
        withheld_from: None,
        origin: None,
    };
    let answered = Located { message_id: id(29), chat_id, seq: Seq::new(5), sender_id: user_id, withheld_from: Some(id(1)) };
    let edited = MessageEdited {
        message: MessageView { rev: Rev::new(11), ..message_view() }.into(),
        answered: Some(answered),
        withheld_from: Some(user_id),
        withheld_reactions: vec![(user_id, id(1))],
        starred_by: vec![id(1)],
        hidden_by: vec![id(9)],
        origin: Some(origin),
    };
    let reaction = MessageReaction {
        message_id,
        chat_id,
        seq: Seq::new(7),
        rev: Rev::new(12),
        user_id,
        emoji: Emoji::parse("👍"),
        withheld_from: None,
        origin: Some(origin),
    };
    let member_changed =
        MemberChanged { chat_id, user_id: id(1), display_name: "Alice".to_owned(), by: user_id, group_name: "Friends".to_owned(), rev: Rev::new(12) };
    let group = ChatView { kind: ChatKind::Group, participant: None, ..chat_view() };
    let created = Event { id: id::<EventId>(70), at: at(9), fact: Fact::ChatCreated { chat_id, created_by: user_id, group: Some(group.into()) }, cause: None };
    let json_text = serde_json::to_string(&created).expect("is JSON");
    assert_eq!(serde_json::from_str::<Event>(&json_text).expect("reads back"), created);
    let facts = [
        Fact::MessageNew(new),
        Fact::MessageStatus(status),
        Fact::MessageDeleted(deleted),
        Fact::MessageEdited(edited),
        Fact::MessageReaction(reaction),
        Fact::MessageStarred(MessageStarred { message_id, chat_id, seq: Seq::new(7), rev: Rev::new(13), user_id, is_starred: true }),
        Fact::ChatCreated { chat_id, created_by: user_id, group: None },
        Fact::ChatUpdated(ChatUpdated {
            chat_id,
            chat_kind: ChatKind::Group,
            changes: ChatChanges {
                profile: ProfileChange { name: Some("Friends".to_owned()), is_admin_only: Some(true), ..ProfileChange::default() },
                auto_delete_timer: Some(AutoDeleteTimer::Week),
                user_id: Some(id(1)),
                role: Some(Role::Admin),
            },
            updated_by: user_id,
            rev: Rev::new(11),
        }),
        Fact::MemberAdded(member_changed.clone()),
        Fact::MemberRemoved(member_changed),
        Fact::SessionsRevoked { user_id, devices: vec![id::<DeviceId>(10)] },
        Fact::Typing { chat_id, user_id, is_typing: true },
        Fact::Presence { user_id, online: false, last_seen: Some(at(5)) },
    ];
    let events = facts.map(|fact| Event { id: id::<EventId>(70), at: at(9), fact, cause: None });
    let by_subject: BTreeMap<&str, &Event> = events.iter().map(|event| (event.subject(), event)).collect();
    assert_snapshot!("events", json(&by_subject));
    for event in &events {
        let json = serde_json::to_string(event).expect("is JSON");
        assert_eq!(serde_json::from_str::<Event>(&json).expect("reads back"), *event);
    }
}

#[test]
fn error_codes_and_their_texts() {
    let retry_after = Duration::from_secs(7);
    let secret = "the cause, which nobody outside may see";
    let errors = [
        Error::BadRequest("The body is not JSON".to_owned()),
        Error::Validation(vec![FieldError { field: "payload.body".to_owned(), message: "must not be empty".to_owned() }]),
        Error::Unauthenticated(Unauthenticated::Missing),
        Error::Unauthenticated(Unauthenticated::Expired),
        Error::Unauthenticated(Unauthenticated::Invalid),
        Error::Denied(Denied::Forbidden("Only admins may send messages in this group")),
        Error::Denied(Denied::NotChatMember),
        Error::Denied(Denied::NotAdmin),
        Error::Denied(Denied::UserBlocked),
        Error::not_found(Missing::Resource),
        Error::not_found(Missing::User),
        Error::not_found(Missing::Chat),
        Error::not_found(Missing::Message),
        Error::not_found(Missing::Device),
        Error::NotFound { what: Missing::User, message: Some("There is no user 7".to_owned()) },
        Error::Conflict(Conflict::State("This client_msg_id was used for another message")),
        Error::Conflict(Conflict::AlreadyMember),
        Error::Conflict(Conflict::LastAdmin),
        Error::Conflict(Conflict::GroupFull),
        Error::Otp(OtpRefusal::Invalid),
        Error::Otp(OtpRefusal::Expired),
        Error::MediaInvalidType("This is no picture".to_owned()),
        Error::TooLarge(TooLarge::Payload),
        Error::TooLarge(TooLarge::Media),
        Error::RateLimited { retry_after },
        Error::OtpMaxAttempts { retry_after },
        Error::unavailable(secret),
        Error::internal(secret),
    ];
    let table: Vec<String> =
        errors.iter().map(|error| format!("{:<18} {:<45} {:?} {:?}", error.code(), error.to_string(), error.retry_after(), error.details())).collect();
    let table = table.join("\n");
    assert!(!table.contains(secret));
    assert_snapshot!("errors", table);
}
