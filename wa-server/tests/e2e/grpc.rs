//! The services over gRPC, asked as any other program would: every call, what it refuses, and the apis that other roles use.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wa_core::api::{Authenticator as _, ForwardMessage, HistoryQuery, MessageApi as _, SearchRequest, SendMessage, SyncRequest};
use wa_core::session::Caller;
use wa_server::SystemEnv;
use wa_transport::grpc::proto::auth::auth_service_client::AuthServiceClient;
use wa_transport::grpc::proto::auth::{ConfirmSessionRequest, ValidateTokenRequest};
use wa_transport::grpc::proto::chat::chat_service_client::ChatServiceClient;
use wa_transport::grpc::proto::chat::{CheckChatPermissionRequest, GetChatParticipantsRequest, IsMemberRequest, ListChatIdsRequest};
use wa_transport::grpc::proto::media::media_service_client::MediaServiceClient;
use wa_transport::grpc::proto::media::{GetMediaMetadataBatchRequest, GetMediaMetadataRequest};
use wa_transport::grpc::proto::message::message_service_client::MessageServiceClient;
use wa_transport::grpc::proto::message::{
    ForwardedFrom, GetLastMessagesRequest, GetUnreadCountsRequest, MessagePayload, SendMessageRequest, SendMessageResponse, UpdateMessageStatusRequest,
};
use wa_transport::grpc::proto::user::user_service_client::UserServiceClient;
use wa_transport::grpc::proto::user::{CheckPresenceRequest, GetPrivacySettingsRequest, GetUserRequest, GetUsersRequest, SetLastSeenRequest};
use wa_transport::grpc::{GrpcAuthClient, GrpcMessageClient, Peer};
use wa_transport::metrics::Metrics;

use crate::media::{png, upload};
use crate::support::{Person, TestServer, eventually, soon};

const NOBODY: &str = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";

async fn start() -> TestServer {
    TestServer::with(|config| config.server.grpc_bind = Some(([127, 0, 0, 1], 0).into())).await
}

fn url(server: &TestServer) -> String {
    format!("http://{}", server.grpc.expect("gRPC is served"))
}

async fn channel(server: &TestServer) -> Channel {
    let endpoint = Channel::from_shared(url(server)).expect("a URL");
    soon("a connection", endpoint.connect()).await.expect("a connection")
}

fn peer(server: &TestServer) -> Peer {
    Peer::new("all", &[url(server)], Arc::new(SystemEnv), Metrics::new()).expect("a URL")
}

fn caller(person: &Person) -> Caller {
    Caller { user_id: person.id.parse().expect("an id"), device_id: person.device.parse().expect("an id") }
}

fn text(chat: &str, sender: &Person, key: &str, body: &str) -> SendMessageRequest {
    SendMessageRequest {
        chat_id: chat.to_owned(),
        sender_id: sender.id.clone(),
        r#type: "text".to_owned(),
        payload: Some(MessagePayload { body: body.to_owned(), ..Default::default() }),
        client_msg_id: key.to_owned(),
        ..Default::default()
    }
}

/// The code of the contract in the details of a status.
fn reason(status: &Status) -> String {
    let details = String::from_utf8_lossy(status.details()).into_owned();
    let is_code = |text: &&str| text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    details.split(|c: char| !c.is_ascii_uppercase() && c != '_').find(is_code).unwrap_or_default().to_owned()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, name: &str) {
    let status = answer.expect_err("it is refused");
    assert_eq!((status.code(), reason(&status).as_str()), (code, name), "{status:?}");
}

#[tokio::test]
async fn a_token_tells_whose_it_is_until_its_session_ends() {
    let server = start().await;
    let alice = server.somebody().await;
    let mut auth = AuthServiceClient::new(channel(&server).await);
    let told = auth.validate_token(ValidateTokenRequest { token: alice.access.clone() }).await.unwrap().into_inner();
    assert!(told.valid);
    assert_eq!((&told.user_id, &told.phone, &told.device_id, &told.session_id), (&alice.id, &alice.phone, &alice.device, &alice.device));
    let session = ConfirmSessionRequest { user_id: alice.id.clone(), device_id: alice.device.clone() };
    auth.confirm_session(session.clone()).await.unwrap();
    for bad in ["", "x", "a.b.c"] {
        let told = auth.validate_token(ValidateTokenRequest { token: bad.to_owned() }).await.unwrap().into_inner();
        assert_eq!((told.valid, told.code.as_str(), told.user_id.as_str()), (false, "TOKEN_INVALID", ""), "{bad}");
    }
    alice.post("/auth/logout", json!({})).await.ok(200);
    let told = auth.validate_token(ValidateTokenRequest { token: alice.access.clone() }).await.unwrap().into_inner();
    assert!(!told.valid);
    refused(auth.confirm_session(session).await, Code::Unauthenticated, "TOKEN_INVALID");
}

#[tokio::test]
async fn profiles_are_shown_as_the_requester_may_see_them() {
    let server = start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    alice.patch("/users/me", json!({ "display_name": "Alice", "status_text": "busy" })).await.ok(200);
    alice.put("/users/me/privacy", json!({ "about": "nobody", "last_seen": "contacts", "read_receipts": false })).await.ok(200);
    bob.post("/users/contacts/sync", json!({ "phone_numbers": [alice.phone] })).await.ok(200);
    let mut users = UserServiceClient::new(channel(&server).await);
    let get = |requester: &str| GetUserRequest { user_id: alice.id.clone(), requester_id: requester.to_owned() };
    let of = |answer: tonic::Response<wa_transport::grpc::proto::user::GetUserResponse>| answer.into_inner().user.expect("a profile");
    let by_bob = of(users.get_user(get(&bob.id)).await.unwrap());
    assert_eq!((by_bob.display_name.as_str(), by_bob.phone.as_str(), by_bob.status_text), ("Alice", alice.phone.as_str(), None));
    assert!(by_bob.created_at.is_some_and(|time| time.seconds > 1_700_000_000));
    let by_herself = of(users.get_user(get(&alice.id)).await.unwrap());
    assert_eq!(by_herself.status_text.as_deref(), Some("busy"));
    let by_nobody = of(users.get_user(get("")).await.unwrap());
    assert_eq!((by_nobody.phone.as_str(), by_nobody.status_text), ("", None));

    let asked = vec![bob.id.clone(), NOBODY.to_owned(), alice.id.clone(), bob.id.clone()];
    let found = users.get_users(GetUsersRequest { user_ids: asked, requester_id: bob.id.clone() }).await.unwrap().into_inner().users;
    assert_eq!(found.iter().map(|user| user.user_id.as_str()).collect::<Vec<_>>(), [&bob.id, &alice.id]);

    let settings = users.get_privacy_settings(GetPrivacySettingsRequest { user_id: alice.id.clone() }).await.unwrap().into_inner();
    let shown = (settings.last_seen.as_str(), settings.profile_photo.as_str(), settings.about.as_str(), settings.read_receipts);
    assert_eq!(shown, ("contacts", "everyone", "nobody", false));

    refused(users.get_user(GetUserRequest { user_id: NOBODY.to_owned(), requester_id: String::new() }).await, Code::NotFound, "USER_NOT_FOUND");
    refused(users.get_user(GetUserRequest::default()).await, Code::InvalidArgument, "VALIDATION_ERROR");
    refused(users.get_user(get("x")).await, Code::InvalidArgument, "VALIDATION_ERROR");
    refused(users.get_privacy_settings(GetPrivacySettingsRequest { user_id: NOBODY.to_owned() }).await, Code::NotFound, "USER_NOT_FOUND");
}

#[tokio::test]
async fn presence_follows_sockets_and_last_seen_only_rises() {
    let server = start().await;
    let alice = server.somebody().await;
    let mut users = UserServiceClient::new(channel(&server).await);
    let ask = || CheckPresenceRequest { user_id: alice.id.clone() };
    let before = users.check_presence(ask()).await.unwrap().into_inner();
    assert_eq!((before.online, before.last_seen), (false, None));
    let mut socket = alice.connect().await;
    socket.settle().await;
    assert!(users.check_presence(ask()).await.unwrap().into_inner().online);
    socket.close().await;
    eventually("going offline", || {
        let mut users = users.clone();
        async move { users.check_presence(ask()).await.ok().filter(|answer| !answer.get_ref().online) }
    })
    .await;

    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 5_000_000 });
    let set = |last_seen| SetLastSeenRequest { user_id: alice.id.clone(), last_seen };
    users.set_last_seen(set(at(4_000_000_000))).await.unwrap();
    users.set_last_seen(set(at(1_000_000_000))).await.unwrap();
    assert_eq!(users.check_presence(ask()).await.unwrap().into_inner().last_seen, at(4_000_000_000));
    refused(users.set_last_seen(set(at(-1))).await, Code::InvalidArgument, "VALIDATION_ERROR");
    refused(users.check_presence(CheckPresenceRequest { user_id: NOBODY.to_owned() }).await, Code::NotFound, "USER_NOT_FOUND");
}

#[tokio::test]
async fn chats_tell_who_is_in_them_and_what_they_may_do() {
    let server = start().await;
    let (alice, bob, direct) = server.couple().await;
    let stranger = server.somebody().await;
    let group = alice.post("/chats", json!({ "type": "group", "name": "G", "participant_ids": [bob.id] })).await.ok(201);
    let group = group["chat_id"].as_str().unwrap().to_owned();
    alice.patch(&format!("/chats/{group}"), json!({ "is_admin_only": true })).await.ok(200);
    let mut chats = ChatServiceClient::new(channel(&server).await);

    let mut there = chats.get_chat_participants(GetChatParticipantsRequest { chat_id: group.clone() }).await.unwrap().into_inner().user_ids;
    let mut expected = vec![alice.id.clone(), bob.id.clone()];
    there.sort();
    expected.sort();
    assert_eq!(there, expected);

    for (user, is_member) in [(&alice, true), (&stranger, false)] {
        let answer = chats.is_member(IsMemberRequest { chat_id: group.clone(), user_id: user.id.clone() }).await.unwrap().into_inner();
        assert_eq!(answer.is_member, is_member);
    }
    assert!(!chats.is_member(IsMemberRequest { chat_id: NOBODY.to_owned(), user_id: alice.id.clone() }).await.unwrap().into_inner().is_member);

    let mut permission = async |chat: &str, user: &Person| {
        let request = CheckChatPermissionRequest { chat_id: chat.to_owned(), user_id: user.id.clone() };
        let answer = chats.check_chat_permission(request).await.unwrap().into_inner();
        (answer.is_member, answer.is_admin, answer.is_admin_only, answer.chat_type)
    };
    assert_eq!(permission(&group, &alice).await, (true, true, true, "group".to_owned()));
    assert_eq!(permission(&group, &bob).await, (true, false, true, "group".to_owned()));
    assert_eq!(permission(&group, &stranger).await, (false, false, true, "group".to_owned()));
    assert_eq!(permission(&direct, &bob).await, (true, false, false, "direct".to_owned()));

    let mut ids = chats.list_chat_ids(ListChatIdsRequest { user_id: bob.id.clone() }).await.unwrap().into_inner().chat_ids;
    let mut expected = vec![direct, group];
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);

    refused(chats.get_chat_participants(GetChatParticipantsRequest { chat_id: NOBODY.to_owned() }).await, Code::NotFound, "CHAT_NOT_FOUND");
    refused(chats.get_chat_participants(GetChatParticipantsRequest { chat_id: "x".to_owned() }).await, Code::InvalidArgument, "VALIDATION_ERROR");
    refused(chats.is_member(IsMemberRequest::default()).await, Code::InvalidArgument, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_message_sent_over_grpc_is_one_like_any_other() {
    let server = start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut socket = bob.connect().await;
    socket.settle().await;
    let mut messages = MessageServiceClient::new(channel(&server).await);
    let sent = messages.send_message(text(&chat, &alice, "k1", "hi")).await.unwrap().into_inner();
    assert!((sent.seq, sent.duplicate) == (1, false) && sent.created_at.is_some());
    let frame = socket.until("the message", |frame| frame["event"] == "message.new").await;
    assert_eq!((&frame["data"]["message_id"], &frame["data"]["payload"]["body"]), (&json!(sent.message_id), &json!("hi")));
    let again = messages.send_message(text(&chat, &alice, "k1", "hi")).await.unwrap().into_inner();
    assert_eq!((again.message_id.as_str(), again.seq, again.duplicate), (sent.message_id.as_str(), 1, true));
    refused(messages.send_message(text(&chat, &alice, "k1", "other")).await, Code::AlreadyExists, "CONFLICT");

    let reply = SendMessageRequest { reply_to_message_id: sent.message_id.clone(), ..text(&chat, &alice, "k2", "again") };
    assert_eq!(messages.send_message(reply).await.unwrap().into_inner().seq, 2);
    let place = MessagePayload { latitude: Some(0.0), longitude: Some(-2.5), name: "Here".to_owned(), ..Default::default() };
    let place = SendMessageRequest { r#type: "location".to_owned(), payload: Some(place), ..text(&chat, &alice, "k3", "") };
    messages.send_message(place).await.unwrap();

    // What is unread and newest.
    let unread = |user: &Person, chats: &[&str]| GetUnreadCountsRequest { user_id: user.id.clone(), chat_ids: chats.iter().map(ToString::to_string).collect() };
    let counts = messages.get_unread_counts(unread(&bob, &[&chat, NOBODY])).await.unwrap().into_inner().counts;
    assert_eq!(counts, HashMap::from([(chat.clone(), 3)]));
    assert_eq!(messages.get_unread_counts(unread(&alice, &[])).await.unwrap().into_inner().counts, HashMap::from([(chat.clone(), 0)]));
    let last = GetLastMessagesRequest { chat_ids: vec![chat.clone(), NOBODY.to_owned()] };
    let last = messages.get_last_messages(last).await.unwrap().into_inner().messages;
    assert_eq!((last.len(), last[&chat].seq, last[&chat].preview.as_str(), last[&chat].r#type.as_str()), (1, 3, "📍 Location", "location"));

    // Receipts.
    let status = |message: &str, user: &Person, status: &str| UpdateMessageStatusRequest {
        message_id: message.to_owned(),
        user_id: user.id.clone(),
        status: status.to_owned(),
    };
    let view = json!({ "message_id": sent.message_id });
    for (state, shown) in [("sent", "sent"), ("delivered", "delivered"), ("read", "read"), ("delivered", "read")] {
        assert!(messages.update_message_status(status(&sent.message_id, &bob, state)).await.unwrap().into_inner().success);
        assert_eq!(alice.status_of(&chat, &view).await, shown);
    }
    assert_eq!(messages.get_unread_counts(unread(&bob, &[&chat])).await.unwrap().into_inner().counts[&chat], 2);
    let stranger = server.somebody().await;
    refused(messages.update_message_status(status(&sent.message_id, &bob, "seen")).await, Code::InvalidArgument, "VALIDATION_ERROR");
    refused(messages.update_message_status(status(NOBODY, &bob, "read")).await, Code::NotFound, "MESSAGE_NOT_FOUND");
    refused(messages.update_message_status(status(&sent.message_id, &stranger, "read")).await, Code::NotFound, "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn a_forward_names_its_source_and_is_made_once() {
    let server = start().await;
    let (alice, bob, chat) = server.couple().await;
    let carol = server.somebody().await;
    let other = bob.chat_with(&carol).await;
    let source = alice.say(&chat, "pass it on").await;
    let source_id = source["message_id"].as_str().unwrap().to_owned();
    let mut messages = MessageServiceClient::new(channel(&server).await);
    let from = ForwardedFrom { chat_id: chat.clone(), message_id: source_id.clone() };
    let forward = SendMessageRequest {
        chat_id: other.clone(),
        sender_id: bob.id.clone(),
        client_msg_id: "f1".to_owned(),
        forwarded_from: Some(from),
        ..Default::default()
    };
    let made = messages.send_message(forward.clone()).await.unwrap().into_inner();
    let again = messages.send_message(forward.clone()).await.unwrap().into_inner();
    assert_eq!((made.seq, made.duplicate, &again.message_id, again.duplicate), (1, false, &made.message_id, true));
    let page = bob.get(&format!("/chats/{other}/messages")).await.ok(200);
    assert_eq!(page["messages"][0]["payload"]["body"], "pass it on");
    assert_eq!(page["messages"][0]["forwarded_from"], json!({ "chat_id": chat, "message_id": source_id }));

    let by_carol = SendMessageRequest { sender_id: carol.id.clone(), client_msg_id: "f2".to_owned(), ..forward.clone() };
    refused(messages.send_message(by_carol).await, Code::NotFound, "MESSAGE_NOT_FOUND");
    let elsewhere = SendMessageRequest { forwarded_from: Some(ForwardedFrom { chat_id: other, message_id: source_id }), ..forward };
    refused(messages.send_message(elsewhere).await, Code::NotFound, "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_the_code_of_the_contract() {
    let server = start().await;
    let (alice, bob, chat) = server.couple().await;
    let stranger = server.somebody().await;
    let mut messages = MessageServiceClient::new(channel(&server).await).max_encoding_message_size(64 << 20);
    let mut send =
        async |request: SendMessageRequest| -> Result<SendMessageResponse, Status> { messages.send_message(request).await.map(tonic::Response::into_inner) };
    let good = text(&chat, &alice, "k", "hi");
    let invalid: Vec<SendMessageRequest> = vec![
        SendMessageRequest::default(),
        SendMessageRequest { chat_id: String::new(), ..good.clone() },
        SendMessageRequest { chat_id: "x".to_owned(), ..good.clone() },
        SendMessageRequest { sender_id: String::new(), ..good.clone() },
        SendMessageRequest { client_msg_id: String::new(), ..good.clone() },
        SendMessageRequest { r#type: "sticker".to_owned(), ..good.clone() },
        SendMessageRequest { r#type: "system".to_owned(), ..good.clone() },
        SendMessageRequest { r#type: String::new(), ..good.clone() },
        SendMessageRequest { payload: None, ..good.clone() },
        SendMessageRequest { payload_json: b"{".to_vec().into(), ..good.clone() },
        SendMessageRequest { reply_to_message_id: "x".to_owned(), ..good.clone() },
        SendMessageRequest { reply_to_message_id: NOBODY.to_owned(), ..good.clone() },
        text(&chat, &alice, "k", &"x".repeat(4097)),
    ];
    for request in invalid {
        let shown = format!("{request:?}");
        let status = send(request).await.expect_err(&shown);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "VALIDATION_ERROR"), "{shown}");
        assert!(!status.message().is_empty());
    }
    refused(send(text(&chat, &alice, "k", &"x".repeat(3 << 20))).await, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
    refused(send(text(NOBODY, &alice, "k", "hi")).await, Code::NotFound, "CHAT_NOT_FOUND");
    refused(send(text(&chat, &stranger, "k", "hi")).await, Code::NotFound, "CHAT_NOT_FOUND");
    alice.post(&format!("/users/{}/block", bob.id), json!({})).await.ok(204);
    refused(send(good).await, Code::PermissionDenied, "USER_BLOCKED");
}

#[tokio::test]
async fn files_are_told_with_addresses_that_work() {
    let server = start().await;
    let alice = server.somebody().await;
    let file = upload(&alice, "image", "a.png", png(20, 10, 7)).await;
    let id = file["media_id"].as_str().unwrap().to_owned();
    let mut media = MediaServiceClient::new(channel(&server).await);
    let told = media.get_media_metadata(GetMediaMetadataRequest { media_id: id.clone() }).await.unwrap().into_inner();
    assert_eq!((told.file_type.as_str(), told.mime_type.as_str(), told.width, told.height), ("image", "image/png", 20, 10));
    assert_eq!(Some(told.size_bytes), file["size_bytes"].as_i64());
    assert_eq!(crate::support::http().get(&told.url).send().await.unwrap().status().as_u16(), 200);
    let batch = GetMediaMetadataBatchRequest { media_ids: vec![NOBODY.to_owned(), id.clone(), id] };
    assert_eq!(media.get_media_metadata_batch(batch).await.unwrap().into_inner().media.len(), 1);
    refused(media.get_media_metadata(GetMediaMetadataRequest { media_id: NOBODY.to_owned() }).await, Code::NotFound, "NOT_FOUND");
    refused(media.get_media_metadata(GetMediaMetadataRequest::default()).await, Code::InvalidArgument, "VALIDATION_ERROR");
    let many = GetMediaMetadataBatchRequest { media_ids: vec![NOBODY.to_owned(); 1001] };
    refused(media.get_media_metadata_batch(many).await, Code::InvalidArgument, "VALIDATION_ERROR");
}

#[tokio::test]
async fn every_service_is_healthy_and_calls_are_counted_and_named() {
    let server = start().await;
    let channel = channel(&server).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "auth.v1.AuthService", "user.v1.UserService", "chat.v1.ChatService", "message.v1.MessageService", "media.v1.MediaService"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service} serves");
    }
    assert_eq!(health.check(HealthCheckRequest { service: "other".to_owned() }).await.expect_err("unknown").code(), Code::NotFound);

    let mut request = Request::new(ListChatIdsRequest { user_id: "x".to_owned() });
    request.metadata_mut().insert("x-request-id", "mine-1".parse().unwrap());
    let status = ChatServiceClient::new(channel).list_chat_ids(request).await.expect_err("no id");
    assert_eq!(status.metadata().get("x-request-id").map(|id| id.to_str().unwrap()), Some("mine-1"));
    let metrics = crate::support::http().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let counted = r#"grpc_server_handled_total{grpc_code="INVALID_ARGUMENT",grpc_method="ListChatIds",grpc_service="chat.v1.ChatService"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains(r#"grpc_server_handling_seconds_count{grpc_method="SendMessage",grpc_service="message.v1.MessageService"} 0"#));
}

#[tokio::test]
async fn a_server_that_ends_answers_and_then_is_gone() {
    let server = start().await;
    let mut auth = AuthServiceClient::new(channel(&server).await);
    auth.validate_token(ValidateTokenRequest::default()).await.unwrap();
    server.stop().await;
    assert_eq!(auth.validate_token(ValidateTokenRequest::default()).await.expect_err("nobody is there").code(), Code::Unavailable);
}

#[tokio::test]
async fn the_apis_are_the_same_from_another_process() {
    let server = start().await;
    let (alice, bob, chat) = server.couple().await;
    let (as_alice, as_bob) = (caller(&alice), caller(&bob));
    let chat_id = chat.parse().expect("an id");
    let auth = GrpcAuthClient::new(peer(&server));
    assert_eq!(auth.authenticate(&alice.access).await.unwrap(), as_alice);
    assert_eq!(auth.authenticate("x").await.unwrap_err().code(), "TOKEN_INVALID");
    auth.confirm(&as_alice).await.unwrap();

    let messages = GrpcMessageClient::new(peer(&server));
    let send = |key: &str, body: Value| SendMessage {
        chat_id,
        client_msg_id: key.to_owned(),
        kind: "text".to_owned(),
        payload: body,
        reply_to_message_id: None,
        origin: None,
    };
    let sent = messages.send(&as_alice, send("k1", json!({ "body": "hello there" }))).await.unwrap();
    assert!(!sent.duplicate && sent.message.payload.as_str().contains("hello there"));
    let id = sent.message.message_id;
    let error = messages.send(&as_alice, send("k2", json!({ "body": 7 }))).await.unwrap_err();
    assert_eq!((error.code(), error.details()[0].field.as_str()), ("VALIDATION_ERROR", "payload.body"));
    let error = messages.send(&as_alice, send("k1", json!({ "body": "other" }))).await.unwrap_err();
    assert_eq!(error.code(), "CONFLICT");
    assert!(error.to_string().contains("client_msg_id"), "the sentence comes along");

    // Sends keep their order, however many are under way.
    let sends = (0..20).map(|number| messages.send(&as_alice, send(&format!("n{number}"), json!({ "body": number.to_string() }))));
    let seqs: Vec<i64> = futures_util::future::join_all(sends).await.into_iter().map(|sent| sent.unwrap().message.seq.get()).collect();
    assert_eq!(seqs, (2..22).collect::<Vec<_>>());

    assert_eq!(messages.pending(&as_bob).await.unwrap().messages.len(), 21);
    messages.mark_delivered(&as_bob, &[id], None).await.unwrap();
    messages.mark_read(&as_bob, Some(chat_id), None, None).await.unwrap();
    assert!(messages.pending(&as_bob).await.unwrap().messages.is_empty());
    assert_eq!(messages.receipts(&as_alice, id).await.unwrap()[0].user_id, as_bob.user_id);
    assert_eq!(messages.edit(&as_alice, id, &json!({ "body": "hello you" }), None).await.unwrap().message_id, id);
    assert_eq!(messages.react(&as_bob, id, Some("👍".to_owned()), None).await.unwrap().message_id, id);
    assert!(messages.star(&as_bob, id, true).await.unwrap().is_starred);
    assert_eq!(messages.starred(&as_bob, None, None).await.unwrap().messages[0].message_id, id);
    let page = messages.history(&as_bob, chat_id, HistoryQuery { limit: Some(5), ..HistoryQuery::default() }).await.unwrap();
    assert!(page.messages.len() == 5 && page.has_more);
    let found = messages.search(&as_bob, SearchRequest { chat: Some(chat_id), query: "hello".to_owned(), cursor: None, limit: None }).await.unwrap();
    assert_eq!(found.results[0].message.message_id, id);
    let missed = messages.sync(&as_bob, SyncRequest { chats: [(chat_id, Default::default())].into(), limit: None }).await.unwrap();
    assert_eq!((missed.chats[0].messages.len(), missed.complete), (21, true));
    let forward = ForwardMessage { message_id: id, target_chat_ids: vec![chat_id], key: None };
    assert_eq!(messages.forward(&as_bob, forward).await.unwrap()[0].chat_id, chat_id);
    assert!(!messages.delete_for_me(&as_bob, id, None).await.unwrap().for_everyone);
    assert!(messages.delete_for_everyone(&as_alice, id, None).await.unwrap().for_everyone);
    assert_eq!(messages.react(&as_alice, id, Some("👍".to_owned()), None).await.unwrap_err().code(), "CONFLICT");
}
