//! What each route hands to the core and how its answer is dressed.

use mockall::predicate::eq;
use serde_json::{Value, json};
use wa_core::api::{ChatPage, MessagePage, OtpRequested, Sent, SyncAnswer};
use wa_core::error::{Error, Missing, Unauthenticated};
use wa_core::privacy::{PrivacySettings, ShownTo};
use wa_core::time::Timestamp;
use wa_core::user::{PresenceView, RegisteredUser};
use wa_transport::rest::openapi;

use crate::support::*;

#[tokio::test]
async fn a_success_is_enveloped() {
    let mut fixture = Fixture::default();
    fixture.users.expect_me().return_once(|_| Ok(profile()));
    let answer = fixture.ask(request_with("GET", "/users/me", &[("authorization", "Bearer alice"), ("x-request-id", "r-1")], "")).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    insta::assert_snapshot!(answer.text);
}

#[tokio::test]
async fn login_hands_over_what_it_was_given() {
    let mut fixture = Fixture::default();
    let auth = fixture.auth.as_mut().expect("there is a login");
    auth.expect_request_otp()
        .with(eq("+15550100001".to_owned()))
        .return_once(|_| Ok(OtpRequested { request_id: id(), message: "On its way".to_owned(), expires_in_seconds: 300, otp: None }));
    auth.expect_verify_otp()
        .withf(|request| request.otp == "123456" && request.device_name.as_deref() == Some("Phone") && request.platform.as_deref() == Some("android"))
        .return_once(|_| Ok(logged_in()));
    auth.expect_refresh().with(eq("r".to_owned()), eq(Some("k".to_owned()))).return_once(|_, _| Ok(logged_in()));
    let router = fixture.router();

    let asked = ask(router.clone(), anonymous("POST", "/auth/request-otp", r#"{"phone":"+15550100001","country_code":"US"}"#)).await;
    assert_eq!(asked.json()["data"], json!({"request_id": ID, "message": "On its way", "expires_in_seconds": 300}));
    let body = r#"{"phone":"+15550100001","otp":"123456","device_name":"Phone"}"#;
    let verified = ask(router.clone(), request_with("POST", "/auth/verify-otp", &[("user-agent", "okhttp/4.12.0")], body)).await;
    assert_eq!((verified.status.as_u16(), &verified.json()["data"]["access_token"]), (200, &json!("a.b.c")));
    let refreshed = ask(router, request_with("POST", "/auth/refresh", &[("idempotency-key", "k")], r#"{"refresh_token":"r"}"#)).await;
    assert_eq!(refreshed.json()["data"]["user"]["is_new_user"], json!(true));
}

#[tokio::test]
async fn public_routes_do_not_mind_a_bad_token() {
    for token in ["Bearer expired", "Bearer forged", "Bearer down", "Basic YQ=="] {
        let mut fixture = Fixture::default();
        fixture.auth.as_mut().expect("there is a login").expect_refresh().return_once(|_, _| Ok(logged_in()));
        let answer = fixture.ask(request_with("POST", "/auth/refresh", &[("authorization", token)], r#"{"refresh_token":"r"}"#)).await;
        assert_eq!(answer.status.as_u16(), 200, "{token}");
    }
}

#[tokio::test]
async fn logging_out_needs_a_bearer_or_a_refresh_token() {
    let with_token = r#"{"refresh_token":"r"}"#;
    for (token, body, caller, refresh_token) in [
        (Some("Bearer alice"), "", true, None),
        (Some("Bearer alice"), "{}", true, None),
        (Some("Bearer alice"), with_token, true, Some("r")),
        (None, with_token, false, Some("r")),
        (Some("Bearer expired"), with_token, false, Some("r")),
    ] {
        let mut fixture = Fixture::default();
        let expected = (caller.then(alice), refresh_token.map(str::to_owned));
        fixture.auth.as_mut().expect("there is a login").expect_logout().with(eq(expected.0), eq(expected.1)).return_once(|_, _| Ok(()));
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        let answer = fixture.ask(request_with("POST", "/auth/logout", &headers, body)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["data"]), (200, &json!({"message": "Logged out"})), "{token:?} {body}");
    }
    for (token, code) in [(None, "UNAUTHORIZED"), (Some("Bearer expired"), "TOKEN_EXPIRED"), (Some("Bearer forged"), "TOKEN_INVALID")] {
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        let answer = Fixture::default().ask(request_with("POST", "/auth/logout", &headers, "")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, code));
    }
}

#[tokio::test]
async fn devices_are_listed_and_removed() {
    let mut fixture = Fixture::default();
    let auth = fixture.auth.as_mut().expect("there is a login");
    auth.expect_devices().with(eq(alice())).return_once(|_| Ok(vec![]));
    auth.expect_remove_device().with(eq(alice()), eq(id::<wa_core::id::DeviceId>())).return_once(|_, _| Ok(()));
    let router = fixture.router();
    assert_eq!(ask(router.clone(), request("GET", "/auth/devices", "")).await.json()["data"], json!([]));
    let removed = ask(router, request("DELETE", &format!("/auth/devices/{ID}"), "")).await;
    assert_eq!((removed.status.as_u16(), removed.text.as_str()), (204, ""));
}

#[tokio::test]
async fn without_a_login_of_its_own_the_server_has_no_auth_routes() {
    let router = Fixture { auth: None, ..Fixture::default() }.router();
    for (method, path) in [("POST", "/auth/request-otp"), ("POST", "/auth/logout"), ("GET", "/auth/devices")] {
        let answer = ask(router.clone(), request(method, path, "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "NOT_FOUND"), "{path}");
    }
    let document = ask(router, anonymous("GET", "!/openapi.json", "")).await;
    assert!(!document.text.contains("/auth/"));
}

#[tokio::test]
async fn profiles_contacts_and_privacy_are_passed_on() {
    let mut fixture = Fixture::default();
    let users = &mut fixture.users;
    users
        .expect_update_me()
        .withf(|_, update| update.display_name.as_deref() == Some("A") && update.status_text.is_none() && update.avatar_url.is_none())
        .return_once(|_, _| Ok(profile()));
    users.expect_delete_me().withf(|_, confirm| confirm == "+15550100001").return_once(|_, _| Ok(()));
    users.expect_profile().times(2).returning(|_, _| Ok(profile()));
    let found = RegisteredUser { phone: "+15550100002".to_owned(), user_id: id(), display_name: "Bob".to_owned(), avatar_url: None, status_text: None };
    users.expect_sync_contacts().withf(|_, numbers| numbers == ["+15550100002", "junk"]).return_once(|_, _| Ok(vec![found]));
    users.expect_contacts().return_once(|_| Ok(vec![]));
    users.expect_set_blocked().withf(|_, _, blocked| *blocked).return_once(|_, _, _| Ok(()));
    users.expect_set_blocked().withf(|_, _, blocked| !*blocked).return_once(|_, _, _| Ok(()));
    users.expect_privacy().return_once(|_| Ok(PrivacySettings::default()));
    users
        .expect_set_privacy()
        .withf(|_, update| update.about == Some(ShownTo::Nobody) && update.last_seen.is_none())
        .return_once(|_, _| Ok(PrivacySettings::default()));
    fixture.presence.expect_see().withf(|_, users| users == [id()]).return_once(|_, _| Ok(vec![PresenceView::hidden(id())]));
    let router = fixture.router();
    let user = format!("/users/{ID}");
    let settings = json!({"last_seen": "everyone", "profile_photo": "everyone", "about": "everyone", "read_receipts": true});
    let steps = [
        ("PATCH", "/users/me".to_owned(), r#"{"display_name":"A","status_text":null}"#, 200, None),
        ("DELETE", "/users/me".to_owned(), r#"{"confirm":"+15550100001"}"#, 204, None),
        ("GET", user.clone(), "", 200, None),
        (
            "POST",
            "/users/contacts/sync".to_owned(),
            r#"{"phone_numbers":["+15550100002","junk"]}"#,
            200,
            Some(json!({"registered_users": [{"phone": "+15550100002", "user_id": ID, "display_name": "Bob", "avatar_url": null, "status_text": null}]})),
        ),
        ("GET", "/users/contacts".to_owned(), "", 200, Some(json!([]))),
        ("POST", format!("{user}/block"), "", 204, None),
        ("DELETE", format!("{user}/block"), "", 204, None),
        ("GET", format!("{user}/presence"), "", 200, Some(json!({"user_id": ID, "online": false, "last_seen": null}))),
        ("GET", "/users/me/privacy".to_owned(), "", 200, Some(settings.clone())),
        ("PUT", "/users/me/privacy".to_owned(), r#"{"about":"nobody"}"#, 200, Some(settings)),
    ];
    for (method, path, body, status, data) in steps {
        let answer = ask(router.clone(), request(method, &path, body)).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        if let Some(data) = data {
            assert_eq!(answer.json()["data"], data, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_presence_of_an_unknown_user_is_not_found() {
    let mut fixture = Fixture::default();
    fixture.users.expect_profile().return_once(|_, _| Err(Error::not_found(Missing::User)));
    let answer = fixture.ask(request("GET", &format!("/users/{ID}/presence"), "")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "USER_NOT_FOUND"));
}

#[tokio::test]
async fn a_new_chat_is_created_and_an_old_one_is_found() {
    for (is_new, status) in [(true, 201), (false, 200)] {
        let mut fixture = Fixture::default();
        fixture.chats.expect_create_direct().with(eq(alice()), eq(id::<wa_core::id::UserId>())).return_once(move |_, _| Ok((chat(), is_new)));
        let answer = fixture.ask(request("POST", "/chats", format!(r#"{{"type":"direct","participant_id":"{ID}"}}"#))).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["data"]["chat_id"]), (status, &json!(ID)));
    }
}

#[tokio::test]
async fn the_chat_object_has_every_documented_key() {
    let mut fixture = Fixture::default();
    fixture.chats.expect_get().return_once(|_, _| Ok(chat()));
    let answer = fixture.ask(request("GET", &format!("/chats/{ID}"), "")).await;
    insta::assert_json_snapshot!(answer.json()["data"]);
}

#[tokio::test]
async fn list_queries_are_read_and_their_limits_left_to_the_core() {
    for (query, cursor, limit) in [
        ("", None, None),
        ("?cursor=&limit=", None, None),
        ("?cursor=abc&limit=5", Some("abc"), Some(5)),
        ("?limit=0", None, Some(0)),
        ("?limit=-3", None, Some(-3)),
        ("?limit=99999999999999999999", None, Some(i64::MAX)),
        ("?limit=-99999999999999999999&unknown=1", None, Some(i64::MIN)),
    ] {
        let mut fixture = Fixture::default();
        fixture
            .chats
            .expect_list()
            .with(eq(alice()), eq(cursor.map(str::to_owned)), eq(limit))
            .return_once(|_, _, _| Ok(ChatPage { chats: vec![], next_cursor: None, has_more: false }));
        let answer = fixture.ask(request("GET", &format!("/chats{query}"), "")).await;
        assert_eq!(answer.json()["data"], json!({"chats": [], "next_cursor": null, "has_more": false}), "{query}");
    }
}

#[tokio::test]
async fn mute_and_pin_answer_without_a_body() {
    let mut fixture = Fixture::default();
    let until = Timestamp::parse("2030-01-01T00:00:00Z");
    let chat = id::<wa_core::id::ChatId>();
    fixture.chats.expect_mute().with(eq(alice()), eq(chat), eq(true), eq(until)).return_once(|_, _, _, _| Ok(()));
    fixture.chats.expect_mute().with(eq(alice()), eq(chat), eq(false), eq(None)).return_once(|_, _, _, _| Ok(()));
    fixture.chats.expect_pin().with(eq(alice()), eq(chat), eq(true)).return_once(|_, _, _| Ok(()));
    let router = fixture.router();
    for (method, path, body) in [
        ("PATCH", "mute", r#"{"is_muted":true,"mute_until":"2030-01-01T00:00:00Z"}"#),
        ("PATCH", "mute", r#"{"is_muted":false,"mute_until":null}"#),
        ("PUT", "pin", r#"{"is_pinned":true}"#),
    ] {
        let answer = ask(router.clone(), request(method, &format!("/chats/{ID}/{path}"), body)).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    }
}

#[tokio::test]
async fn a_message_is_created_once_and_then_found() {
    for (duplicate, status, persisted) in [(false, 201, 1), (true, 200, 0)] {
        let mut fixture = Fixture::default();
        fixture
            .messages
            .expect_send()
            .withf(|caller, sent| {
                *caller == alice() && sent.client_msg_id == "c1" && sent.kind == "text" && sent.payload == json!({"body": "hello"}) && sent.origin.is_none()
            })
            .return_once(move |_, _| Ok(Sent { message: message(), duplicate }));
        let metrics = fixture.metrics.clone();
        let body = r#"{"client_msg_id":"c1","type":"text","payload":{"body":"hello"}}"#;
        let answer = fixture.ask(request("POST", &format!("/chats/{ID}/messages"), body)).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(metrics.messages_persisted().get(), persisted);
        insta::allow_duplicates! { insta::assert_json_snapshot!(answer.json()["data"]) };
    }
}

#[tokio::test]
async fn history_is_read_both_ways() {
    for (query, cursor, after_seq, limit) in [
        (String::new(), false, None, None),
        (format!("?cursor={ID}&limit=10"), true, None, Some(10)),
        ("?after_seq=7".to_owned(), false, Some(7), None),
        ("?cursor=&after_seq=0".to_owned(), false, Some(0), None),
    ] {
        let mut fixture = Fixture::default();
        fixture
            .messages
            .expect_history()
            .withf(move |_, _, query| query.cursor == cursor.then(id) && query.after_seq == after_seq && query.limit == limit)
            .return_once(|_, _, _| Ok(MessagePage { messages: vec![], next_cursor: None, has_more: false }));
        let answer = fixture.ask(request("GET", &format!("/chats/{ID}/messages{query}"), "")).await;
        assert_eq!(answer.json()["data"], json!({"messages": [], "next_cursor": null, "has_more": false}), "{query}");
    }
}

#[tokio::test]
async fn receipts_reads_deletions_and_sync_are_passed_on() {
    let mut fixture = Fixture::default();
    let messages = &mut fixture.messages;
    messages
        .expect_mark_read()
        .withf(|_, chat, up_to, origin| *chat == Some(id()) && *up_to == Some(id()) && origin.is_none())
        .return_once(|_, _, _, _| Ok(()));
    messages.expect_receipts().return_once(|_, _| Ok(vec![]));
    messages.expect_delete_for_me().times(3).returning(|_, _, _| Ok(deleted()));
    messages.expect_delete_for_everyone().return_once(|_, _, _| Ok(deleted()));
    messages
        .expect_sync()
        .withf(|_, request| request.limit == Some(3) && request.chats.len() == 1)
        .return_once(|_, _| Ok(SyncAnswer { chats: vec![], removed_chat_ids: vec![id()], complete: true }));
    let router = fixture.router();
    let read = ask(router.clone(), request("POST", &format!("/chats/{ID}/messages/read"), format!(r#"{{"up_to_message_id":"{ID}"}}"#))).await;
    assert_eq!(read.status.as_u16(), 204);
    assert_eq!(ask(router.clone(), request("GET", &format!("/messages/{ID}/receipts"), "")).await.json()["data"], json!([]));
    for query in ["", "?for=me", "?for=", "?for=everyone"] {
        assert_eq!(ask(router.clone(), request("DELETE", &format!("/messages/{ID}{query}"), "")).await.status.as_u16(), 204, "{query}");
    }
    let sync = ask(router, request("POST", "/sync", format!(r#"{{"chats":{{"{ID}":4}},"limit":3}}"#))).await;
    assert_eq!(sync.json()["data"], json!({"chats": [], "removed_chat_ids": [ID], "complete": true}));
}

/// The matrix comes from the route table: a route that is not marked public refuses everybody without a valid token.
#[tokio::test]
async fn every_route_that_is_not_public_needs_a_valid_token() {
    let document = openapi(&wa_transport::rest::RestOptions::default(), true);
    let mut guarded = 0;
    let router = Fixture::default().router();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let public = !matches!(operation.get("security"), None | Some(Value::Null));
            if public {
                continue;
            }
            guarded += 1;
            for (token, code) in [
                (None, "UNAUTHORIZED"),
                (Some("Basic YWxpY2U6"), "UNAUTHORIZED"),
                (Some("Bearer"), "UNAUTHORIZED"),
                (Some("Bearer  "), "UNAUTHORIZED"),
                (Some("alice"), "UNAUTHORIZED"),
                (Some("Bearer expired"), "TOKEN_EXPIRED"),
                (Some("bearer forged"), "TOKEN_INVALID"),
                (Some("Bearer \u{fc}"), "TOKEN_INVALID"),
            ] {
                let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
                let uri = format!("!{}", path.replace("{id}", ID));
                let answer = ask(router.clone(), request_with(&method.to_uppercase(), &uri, &headers, "{}")).await;
                assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, code), "{method} {path} {token:?}");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
    }
    assert!(guarded >= 24, "only {guarded} guarded routes");
}

#[tokio::test]
async fn a_token_that_cannot_be_checked_now_is_unavailable() {
    let answer = Fixture::default().ask(request_with("GET", "/users/me", &[("authorization", "Bearer down")], "")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "UNAVAILABLE"));
    assert!(!answer.text.contains("secret"));
}

#[tokio::test]
async fn the_scheme_of_a_token_is_read_in_any_case() {
    for header in ["bearer alice", "BEARER   alice", "Bearer alice "] {
        let mut fixture = Fixture::default();
        fixture.users.expect_me().return_once(|_| Ok(profile()));
        let answer = fixture.ask(request_with("GET", "/users/me", &[("authorization", header)], "")).await;
        assert_eq!(answer.status.as_u16(), 200, "{header}");
    }
}

#[tokio::test]
async fn refusals_by_the_core_keep_their_code() {
    let mut fixture = Fixture::default();
    let auth = fixture.auth.as_mut().expect("there is a login");
    auth.expect_refresh().return_once(|_, _| Err(Error::Unauthenticated(Unauthenticated::Missing)));
    let answer = fixture.ask(anonymous("POST", "/auth/refresh", r#"{"refresh_token":"r"}"#)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "UNAUTHORIZED"));
}
