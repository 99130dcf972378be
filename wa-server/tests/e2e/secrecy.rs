//! Secrets are in no log, metric or error (contract, section 8; DESIGN.md, section 5).

use reqwest::Method;
use serde_json::json;
use wa_server::Secret;

use crate::support::{Answer, Person, TestServer, http, log};

#[tokio::test]
async fn tokens_codes_bodies_and_phones_are_in_no_log_and_no_metric() {
    const JWT_SECRET: &str = "the-signing-secret-that-nobody-may-ever-see";
    let server = TestServer::with(|config| config.auth.jwt_secret = Some(Secret::new(JWT_SECRET))).await;
    let (alice, bob, chat) = server.couple().await;
    let (said, private_name) = ("what alice said to bob alone", "a name nobody logs");
    let searched = "what-nobody-may-know-alice-searched";
    alice.patch("/users/me", json!({ "display_name": private_name })).await.ok(200);
    let mut b = bob.connect().await;
    b.settle().await;
    let mut a = alice.connect().await;
    a.say(&chat, said).await;
    b.expect("message.new").await;
    alice.say(&chat, said).await;
    alice.get(&format!("/messages/search?q={searched}")).await.ok(200);
    // And all the ways in which things go wrong.
    alice.get(&format!("/chats/{chat}/messages/search?q={searched}&cursor=nonsense")).await.refused(400, "BAD_REQUEST");
    alice.get(&format!("/messages/search?q={}", searched.repeat(10))).await.refused(422, "VALIDATION_ERROR");
    let otp = server.otp(&alice.phone).await;
    let wrong = format!("{:06}", (otp.parse::<u32>().unwrap() + 1) % 1_000_000);
    server.post("/auth/verify-otp", json!({ "phone": alice.phone, "otp": wrong })).await.refused(400, "OTP_INVALID");
    server.post("/auth/verify-otp", json!({ "phone": alice.phone, "otp": "12345x" })).await.refused(422, "VALIDATION_ERROR");
    server.post("/auth/request-otp", json!({ "phone": format!("{}99999999", alice.phone) })).await.refused(422, "VALIDATION_ERROR");
    alice
        .post(&format!("/chats/{chat}/messages"), json!({ "client_msg_id": "x", "type": "text", "payload": { "body": [said] } }))
        .await
        .refused(422, "VALIDATION_ERROR");
    alice.post("/users/contacts/sync", json!({ "phone_numbers": [bob.phone] })).await.ok(200);
    alice.call(Method::DELETE, "/users/me", Some(json!({ "confirm": bob.phone }))).await.refused(422, "VALIDATION_ERROR");
    a.ask("message.send", json!({ "chat_id": chat, "client_msg_id": "y", "type": "nope", "payload": { "body": said } })).await;
    a.send_text(format!("{{\"broken\": \"{said}\"")).await;
    a.expect("error").await;
    let bad_token = format!("{}x", alice.access);
    Person { access: bad_token.clone(), ..alice.clone() }.get("/users/me").await.refused(401, "TOKEN_INVALID");
    Answer::of(http().get(server.url(&format!("/api/v1/users/me?token={}", alice.access)))).await.refused(401, "UNAUTHORIZED");
    let renewed = server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.ok(200);
    server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.refused(401, "UNAUTHORIZED");

    let metrics = Answer::of(http().get(server.url("/metrics"))).await.text;
    server.stop().await;
    let log = log();
    assert!(log.contains("/api/v1/auth/verify-otp") && log.contains(r#""route":"/api/v1/chats/{id}/messages""#), "the access log was captured");
    assert!(log.contains(&format!(r#""user_id":"{}""#, alice.id)), "lines name their user");
    let renewed_access = renewed["access_token"].as_str().unwrap();
    let renewed_refresh = renewed["refresh_token"].as_str().unwrap();
    let secrets = [
        ("the signing secret", JWT_SECRET),
        ("an access token", alice.access.as_str()),
        ("the signature of a token", alice.access.rsplit('.').next().unwrap()),
        ("the socket's token", bob.access.as_str()),
        ("a bad token", bad_token.as_str()),
        ("a refresh token", alice.refresh.as_str()),
        ("a new access token", renewed_access),
        ("a new refresh token", renewed_refresh),
        ("a message", said),
        ("a search", searched),
        ("a name", private_name),
        ("a phone", alice.phone.as_str()),
        ("another phone", bob.phone.as_str()),
    ];
    for (what, secret) in secrets {
        if let Some(line) = log.lines().find(|line| line.contains(secret)) {
            panic!("{what} is in the log: {line}");
        }
        assert!(!metrics.contains(secret), "{what} is in the metrics");
    }
    // Six digits may be part of any number, so codes are looked for as values of their own.
    for code in [&otp, &wrong] {
        if let Some(line) = log.lines().find(|line| line.contains(&format!("\"{code}\"")) || line.contains(&format!(" {code} "))) {
            panic!("a code is in the log: {line}");
        }
    }
}
