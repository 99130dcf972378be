//! Bad input: each kind gets the contract's status, and nothing of it reaches the core (the mocks expect no call).

use axum::body::Body;

use crate::support::*;

/// A route that takes a body, and a body that is right for it.
const BODIES: [(&str, &str, &str); 12] = [
    ("POST", "/auth/request-otp", r#"{"phone":"+15550100001"}"#),
    ("POST", "/auth/verify-otp", r#"{"phone":"+15550100001","otp":"123456"}"#),
    ("POST", "/auth/refresh", r#"{"refresh_token":"r"}"#),
    ("POST", "/auth/logout", r#"{"refresh_token":"r"}"#),
    ("PATCH", "/users/me", r#"{"display_name":"x"}"#),
    ("PUT", "/users/me/privacy", r#"{"about":"nobody"}"#),
    ("POST", "/users/contacts/sync", r#"{"phone_numbers":[]}"#),
    ("POST", "/chats", r#"{"type":"direct"}"#),
    ("PATCH", "/chats/018f3f6e-7b1c-7c4e-8a57-0242ac120002/mute", r#"{"is_muted":true}"#),
    ("PUT", "/chats/018f3f6e-7b1c-7c4e-8a57-0242ac120002/pin", r#"{"is_pinned":true}"#),
    ("POST", "/chats/018f3f6e-7b1c-7c4e-8a57-0242ac120002/messages", r#"{"client_msg_id":"c","type":"text","payload":{}}"#),
    ("POST", "/sync", "{}"),
];

#[tokio::test]
async fn a_body_that_is_no_json_object_is_a_bad_request() {
    let deep = "[".repeat(100_000);
    let bodies: [&[u8]; 12] = [
        b"{",
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b"7",
        b"\"text\"",
        b"{\"a\":1}x",
        b"{'a':1}",
        b"{\"phone\":\"\xff\xfe\"}",
        b"{\"a\":\"\\ud800\"}",
        deep.as_bytes(),
    ];
    for (method, path, _) in BODIES {
        for body in bodies {
            if path == "/auth/logout" && body.is_empty() {
                continue;
            }
            let answer = Fixture::default().ask(request(method, path, body.to_vec())).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(20)]);
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "BAD_REQUEST"), "{method} {path} {shown}");
        }
    }
}

#[tokio::test]
async fn too_large_a_body_is_refused_and_one_at_the_limit_is_read() {
    let valid = r#"{"type":"unknown"}"#;
    for (spaces, status, code) in
        [(1024 - valid.len(), 422, "VALIDATION_ERROR"), (1025 - valid.len(), 413, "PAYLOAD_TOO_LARGE"), (100_000, 413, "PAYLOAD_TOO_LARGE")]
    {
        let mut fixture = Fixture::default();
        fixture.limits.json_body = 1024;
        let answer = fixture.ask(request("POST", "/chats", format!("{valid}{}", " ".repeat(spaces)))).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{spaces}");
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let mut fixture = Fixture::default();
    fixture.limits.json_body = 1024;
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b' '; 512])));
    let answer = fixture.ask(request("POST", "/chats", Body::from_stream(endless))).await;
    assert_eq!(answer.status.as_u16(), 413);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_bad_request() {
    let broken = futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))]);
    let answer = Fixture::default().ask(request("POST", "/chats", Body::from_stream(broken))).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "BAD_REQUEST"));
}

#[tokio::test]
async fn missing_and_mistyped_fields_are_named() {
    let messages = &format!("/chats/{ID}/messages");
    let read = &format!("/chats/{ID}/messages/read");
    let mute = &format!("/chats/{ID}/mute");
    let chat = &format!("/chats/{ID}");
    let (people, role, timer) = (&format!("/chats/{ID}/participants"), &format!("/chats/{ID}/participants/{ID}/role"), &format!("/chats/{ID}/disappearing"));
    let cases = [
        ("POST", "/auth/request-otp", r#"{}"#, "phone", "is required"),
        ("POST", "/auth/request-otp", r#"{"phone":null}"#, "phone", "must be a string"),
        ("POST", "/auth/request-otp", r#"{"phone":15550100001}"#, "phone", "must be a string"),
        ("POST", "/auth/verify-otp", r#"{"phone":"+15550100001","otp":123456}"#, "otp", "must be a string"),
        ("POST", "/auth/refresh", r#"{}"#, "refresh_token", "is required"),
        ("POST", "/auth/refresh", r#"{"refresh_token":""}"#, "refresh_token", "must not be empty"),
        ("POST", "/auth/logout", r#"{"refresh_token":""}"#, "refresh_token", "must not be empty"),
        ("POST", "/auth/logout", r#"{"refresh_token":["r"]}"#, "refresh_token", "must be a string"),
        ("PATCH", "/users/me", r#"{"display_name":{}}"#, "display_name", "must be a string"),
        ("DELETE", "/users/me", r#"{}"#, "confirm", "is required"),
        ("PUT", "/users/me/privacy", r#"{"about":"friends"}"#, "about", "must be one of everyone, contacts, nobody"),
        ("PUT", "/users/me/privacy", r#"{"read_receipts":"yes"}"#, "read_receipts", "must be a boolean"),
        ("POST", "/users/contacts/sync", r#"{}"#, "phone_numbers", "is required"),
        ("POST", "/users/contacts/sync", r#"{"phone_numbers":"+1"}"#, "phone_numbers", "must be a list"),
        ("POST", "/users/contacts/sync", r#"{"phone_numbers":["+1",2]}"#, "phone_numbers[1]", "must be a string"),
        ("POST", "/chats", r#"{}"#, "type", "is required"),
        ("POST", "/chats", r#"{"type":"direct"}"#, "participant_id", "is required"),
        ("POST", "/chats", r#"{"type":"direct","participant_id":"bob"}"#, "participant_id", "must be a UUID"),
        ("POST", "/chats", r#"{"type":"channel"}"#, "type", "must be direct or group"),
        ("POST", "/chats", r#"{"type":"group","participant_ids":[]}"#, "name", "is required"),
        ("POST", "/chats", r#"{"type":"group","name":"g"}"#, "participant_ids", "is required"),
        ("POST", "/chats", r#"{"type":"group","name":"g","participant_ids":["bob"]}"#, "participant_ids[0]", "must be a UUID"),
        ("POST", "/chats", r#"{"type":"group","name":7,"participant_ids":[]}"#, "name", "must be a string"),
        ("POST", "/chats/join", r#"{}"#, "code", "is required"),
        ("PATCH", chat, r#"{"name":7}"#, "name", "must be a string"),
        ("PATCH", chat, r#"{"is_admin_only":"yes"}"#, "is_admin_only", "must be a boolean"),
        ("POST", people, r#"{}"#, "user_ids", "is required"),
        ("POST", people, r#"{"user_ids":["bob"]}"#, "user_ids[0]", "must be a UUID"),
        ("PATCH", role, r#"{"role":"owner"}"#, "role", "must be admin or member"),
        ("PUT", timer, r#"{"timer":"1h"}"#, "timer", "must be one of off, 24h, 7d, 90d"),
        ("PATCH", mute, r#"{}"#, "is_muted", "is required"),
        ("PATCH", mute, r#"{"is_muted":true,"mute_until":"tomorrow"}"#, "mute_until", "must be an RFC 3339 time"),
        ("PATCH", mute, r#"{"is_muted":true,"mute_until":7}"#, "mute_until", "must be a string"),
        ("POST", messages, r#"{"type":"text","payload":{}}"#, "client_msg_id", "is required"),
        ("POST", messages, r#"{"client_msg_id":"c","payload":{}}"#, "type", "is required"),
        ("POST", messages, r#"{"client_msg_id":"c","type":"text"}"#, "payload", "is required"),
        ("POST", messages, r#"{"client_msg_id":"c","type":"text","payload":{},"reply_to_message_id":"7"}"#, "reply_to_message_id", "must be a UUID"),
        ("POST", read, r#"{}"#, "up_to_message_id", "is required"),
        ("POST", read, r#"{"up_to_message_id":"018f3f6e7b1c7c4e8a570242ac120002"}"#, "up_to_message_id", "must be a UUID"),
        ("POST", "/sync", r#"{"chats":[]}"#, "chats", "must be an object"),
        ("POST", "/sync", r#"{"chats":{"x":1}}"#, "chats.x", "must be a UUID"),
        ("POST", "/sync", r#"{"limit":1.5}"#, "limit", "must be a whole number"),
    ];
    for (method, path, body, field, message) in cases {
        let answer = Fixture::default().ask(request(method, path, body)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "VALIDATION_ERROR"), "{method} {path} {body}");
        let details = &answer.json()["error"]["details"];
        assert_eq!(*details, serde_json::json!([{"field": field, "message": message}]), "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_bad_revision_in_sync_is_named_by_its_chat() {
    let answer = Fixture::default().ask(request("POST", "/sync", format!(r#"{{"chats":{{"{ID}":"x"}}}}"#))).await;
    assert_eq!(answer.fields(), [format!("chats.{ID}")]);
}

#[tokio::test]
async fn a_bad_id_in_a_path_is_a_bad_request() {
    for (method, path) in [
        ("DELETE", "/auth/devices/x"),
        ("GET", "/users/x"),
        ("POST", "/users/018f3f6e7b1c7c4e8a570242ac120002/block"),
        ("DELETE", "/users/x/block"),
        ("GET", "/users/x/presence"),
        ("GET", "/chats/{x}"),
        ("GET", "/chats/%FF"),
        ("PATCH", "/chats/x/mute"),
        ("PUT", "/chats/x/pin"),
        ("GET", "/chats/x/messages"),
        ("POST", "/chats/x/messages"),
        ("POST", "/chats/x/messages/read"),
        ("GET", "/messages/x/receipts"),
        ("DELETE", "/messages/x"),
    ] {
        let answer = Fixture::default().ask(request(method, &path.replace(['{', '}'], "%7B"), "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "BAD_REQUEST"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_bad_query_is_a_bad_request() {
    for query in ["cursor=x", "after_seq=x", "limit=x", "limit=1.5", "limit=-", "limit=1&limit=2", "cursor=%FF"] {
        let answer = Fixture::default().ask(request("GET", &format!("/chats/{ID}/messages?{query}"), "")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "BAD_REQUEST"), "{query}");
    }
}

#[tokio::test]
async fn deleting_for_somebody_else_is_refused_by_name() {
    for audience in ["them", "EVERYONE"] {
        let answer = Fixture::default().ask(request("DELETE", &format!("/messages/{ID}?for={audience}"), "")).await;
        assert_eq!((answer.status.as_u16(), answer.fields()), (422, vec!["for".to_owned()]), "{audience}");
    }
}

#[tokio::test]
async fn a_mad_idempotency_key_is_a_bad_request() {
    for key in ["", &"k".repeat(129)] {
        let headers = [("idempotency-key", key)];
        let answer = Fixture::default().ask(request_with("POST", "/auth/refresh", &headers, r#"{"refresh_token":"r"}"#)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "BAD_REQUEST"), "{key}");
    }
}

#[tokio::test]
async fn unknown_keys_and_content_types_are_ignored() {
    for content_type in ["text/plain", "application/json; charset=utf-8", "nonsense"] {
        let mut fixture = Fixture::default();
        fixture.chats.expect_pin().return_once(|_, _, _| Ok(()));
        let headers = [("authorization", "Bearer alice"), ("content-type", content_type)];
        let answer = fixture.ask(request_with("PUT", &format!("/chats/{ID}/pin"), &headers, r#"{"is_pinned":true,"colour":{"deep":[1]}}"#)).await;
        assert_eq!(answer.status.as_u16(), 204, "{content_type}");
    }
}
