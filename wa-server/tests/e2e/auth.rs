//! Login, refresh, logout, devices (contract, sections 1.1, 7 and 10).

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Person, TestServer, fresh_phone, http};

#[tokio::test]
async fn a_phone_logs_in_with_a_code_and_gets_the_documented_shape() {
    let server = TestServer::start().await;
    let phone = fresh_phone();
    let requested = server.post("/auth/request-otp", json!({ "phone": phone })).await.ok(200);
    assert_eq!(requested["expires_in_seconds"], 300);
    assert!(requested["request_id"].is_string() && requested["message"].is_string());

    let verify = json!({ "phone": phone, "otp": requested["otp"], "device_name": "Pixel" });
    let login = server.post("/auth/verify-otp", verify.clone()).await.ok(200);
    assert_eq!((&login["expires_in"], &login["expires_in_seconds"]), (&json!(900), &json!(900)));
    assert_eq!(login["is_new_user"], true);
    assert_eq!(login["user"]["is_new_user"], true);
    assert_eq!(login["user"]["phone"], phone.as_str());
    assert_eq!(login["user"]["display_name"], "");
    // A code is used once.
    server.post("/auth/verify-otp", verify).await.refused(400, "OTP_EXPIRED");

    let again = server.post("/auth/verify-otp", json!({ "phone": phone, "otp": server.otp(&phone).await })).await.ok(200);
    assert_eq!(again["is_new_user"], false);
    assert_eq!(again["user"]["id"], login["user"]["id"]);
    assert_ne!(again["device_id"], login["device_id"], "each login is a device of its own");
}

#[tokio::test]
async fn the_existing_clients_way_to_log_in_is_not_needed_but_bad_input_is_told() {
    let server = TestServer::start().await;
    for phone in ["", "12345", "+1", "hello", "+155501000010000000"] {
        let error = server.post("/auth/request-otp", json!({ "phone": phone })).await.refused(422, "VALIDATION_ERROR");
        assert_eq!(error["details"][0]["field"], "phone", "{phone}");
    }
    server.post("/auth/request-otp", json!({})).await.refused(422, "VALIDATION_ERROR");
    server.post("/auth/request-otp", json!({ "phone": 5 })).await.refused(422, "VALIDATION_ERROR");
    server.post("/auth/request-otp", json!([])).await.refused(400, "BAD_REQUEST");
    let phone = fresh_phone();
    server.post("/auth/verify-otp", json!({ "phone": phone, "otp": "123456" })).await.refused(400, "OTP_EXPIRED");
    for otp in ["12345", "1234567", "abcdef", ""] {
        server.post("/auth/verify-otp", json!({ "phone": phone, "otp": otp })).await.refused(422, "VALIDATION_ERROR");
    }
}

/// A code that is not this one.
fn other_than(otp: &str) -> String {
    format!("{:06}", (otp.parse::<u32>().expect("digits") + 1) % 1_000_000)
}

#[tokio::test]
async fn the_fifth_wrong_code_and_all_after_it_are_too_many() {
    let server = TestServer::start().await;
    let phone = fresh_phone();
    let otp = server.otp(&phone).await;
    let wrong = json!({ "phone": phone, "otp": other_than(&otp) });
    // What is no code at all is not counted.
    server.post("/auth/verify-otp", json!({ "phone": phone, "otp": "12" })).await.refused(422, "VALIDATION_ERROR");
    for _ in 0..4 {
        server.post("/auth/verify-otp", wrong.clone()).await.refused(400, "OTP_INVALID");
    }
    server.post("/auth/verify-otp", wrong).await.refused(429, "OTP_MAX_ATTEMPTS");
    server.post("/auth/verify-otp", json!({ "phone": phone, "otp": otp })).await.refused(429, "OTP_MAX_ATTEMPTS");
    server.login(&phone).await;
}

#[tokio::test]
async fn guessing_in_parallel_gets_no_more_attempts() {
    let server = TestServer::start().await;
    let phone = fresh_phone();
    let otp = server.otp(&phone).await;
    let guesses = (1..=40).map(|offset| {
        let guess = format!("{:06}", (otp.parse::<u32>().expect("digits") + offset) % 1_000_000);
        server.post("/auth/verify-otp", json!({ "phone": phone, "otp": guess }))
    });
    let answers = futures_util::future::join_all(guesses).await;
    let invalid = answers.iter().filter(|answer| answer.body["error"]["code"] == "OTP_INVALID").count();
    let too_many = answers.iter().filter(|answer| answer.body["error"]["code"] == "OTP_MAX_ATTEMPTS").count();
    assert_eq!((invalid, too_many), (4, 36));
    server.post("/auth/verify-otp", json!({ "phone": phone, "otp": otp })).await.refused(429, "OTP_MAX_ATTEMPTS");
}

#[tokio::test]
async fn of_many_who_use_a_code_at_once_one_logs_in() {
    let server = TestServer::start().await;
    let phone = fresh_phone();
    let otp = server.otp(&phone).await;
    let tries = (0..5).map(|_| server.post("/auth/verify-otp", json!({ "phone": phone, "otp": otp })));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_code_and_tokens_expire() {
    let (server, clock) = TestServer::with_clock(|_| {}).await;
    let phone = fresh_phone();
    let otp = server.otp(&phone).await;
    clock.advance(Duration::from_secs(301));
    server.post("/auth/verify-otp", json!({ "phone": phone, "otp": otp })).await.refused(400, "OTP_EXPIRED");

    let alice = server.login(&phone).await;
    alice.get("/users/me").await.ok(200);
    clock.advance(Duration::from_secs(901));
    alice.get("/users/me").await.refused(401, "TOKEN_EXPIRED");
    let refreshed = server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.ok(200);
    let alice = Person::of(server.address, &phone, &refreshed);
    alice.get("/users/me").await.ok(200);
    clock.advance(Duration::from_secs(31 * 86_400));
    server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_refresh_token_rotates_and_its_reuse_ends_the_session() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut socket = alice.connect().await;
    socket.settle().await;
    let first = server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.ok(200);
    assert_eq!(first["device_id"], alice.device.as_str());
    assert_eq!(first["user"]["id"], alice.id.as_str());
    let renewed = Person::of(server.address, &alice.phone, &first);
    // The older access token holds on; it is the session that counts.
    alice.get("/users/me").await.ok(200);
    socket.settle().await;

    server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.refused(401, "UNAUTHORIZED");
    renewed.get("/users/me").await.refused(401, "TOKEN_INVALID");
    server.post("/auth/refresh", json!({ "refresh_token": renewed.refresh })).await.refused(401, "UNAUTHORIZED");
    assert_eq!(socket.close_code().await, 4001);
}

async fn refresh_with_key(server: &TestServer, token: &str, key: &str) -> Answer {
    Answer::of(http().post(server.url("/api/v1/auth/refresh")).header("Idempotency-Key", key).json(&json!({ "refresh_token": token }))).await
}

#[tokio::test]
async fn repeating_a_refresh_with_its_key_gets_the_same_answer_for_a_while() {
    let (server, clock) = TestServer::with_clock(|_| {}).await;
    let alice = server.somebody().await;
    let first = refresh_with_key(&server, &alice.refresh, "k1").await.ok(200);
    let second = refresh_with_key(&server, &alice.refresh, "k1").await.ok(200);
    assert_eq!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(first["access_token"], second["access_token"]);
    clock.advance(Duration::from_secs(31));
    refresh_with_key(&server, &alice.refresh, "k1").await.refused(401, "UNAUTHORIZED");
    // Too late a repeat is reuse.
    refresh_with_key(&server, first["refresh_token"].as_str().unwrap(), "k2").await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_refresh_repeated_at_once_with_one_key_is_one_refresh() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let answers = futures_util::future::join_all((0..8).map(|_| refresh_with_key(&server, &alice.refresh, "same"))).await;
    let tokens: Vec<Value> = answers.into_iter().map(|answer| answer.ok(200)["refresh_token"].clone()).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    server.post("/auth/refresh", json!({ "refresh_token": tokens[0] })).await.ok(200);
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused() {
    let server = TestServer::start().await;
    server.post("/auth/refresh", json!({ "refresh_token": "" })).await.refused(422, "VALIDATION_ERROR");
    server.post("/auth/refresh", json!({})).await.refused(422, "VALIDATION_ERROR");
    server.post("/auth/refresh", json!({ "refresh_token": "x" })).await.refused(401, "UNAUTHORIZED");
    server.post("/auth/refresh", json!({ "refresh_token": "A".repeat(43) })).await.refused(401, "UNAUTHORIZED");
    let alice = server.somebody().await;
    server.post("/auth/refresh", json!({ "refresh_token": alice.access })).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn logging_out_ends_the_bearers_own_session_and_its_socket() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut socket = alice.connect().await;
    socket.settle().await;
    assert!(alice.call(Method::POST, "/auth/logout", None).await.ok(200)["message"].is_string());
    alice.get("/users/me").await.refused(401, "TOKEN_INVALID");
    server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.refused(401, "UNAUTHORIZED");
    assert_eq!(socket.close_code().await, 4001);
}

#[tokio::test]
async fn logging_out_works_with_a_refresh_token_alone() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    server.post("/auth/logout", json!({ "refresh_token": alice.refresh })).await.ok(200);
    alice.get("/users/me").await.refused(401, "TOKEN_INVALID");
    server.call(Method::POST, "/auth/logout", None, None).await.refused(401, "UNAUTHORIZED");
    server.post("/auth/logout", json!({ "refresh_token": "nonsense" })).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn logging_out_with_another_devices_token_ends_that_device() {
    let server = TestServer::start().await;
    let phone = fresh_phone();
    let (one, two) = (server.login(&phone).await, server.login(&phone).await);
    one.post("/auth/logout", json!({ "refresh_token": two.refresh })).await.ok(200);
    two.get("/users/me").await.refused(401, "TOKEN_INVALID");
    one.get("/users/me").await.ok(200);
    let stranger = server.somebody().await;
    stranger.post("/auth/logout", json!({ "refresh_token": one.refresh })).await.refused(401, "UNAUTHORIZED");
    one.get("/users/me").await.ok(200);
}

#[tokio::test]
async fn devices_are_listed_and_a_removed_one_dies_at_once() {
    let server = TestServer::start().await;
    let phone = fresh_phone();
    let (one, two) = (server.login(&phone).await, server.login(&phone).await);
    let devices = one.get("/auth/devices").await.ok(200);
    let devices = devices.as_array().unwrap();
    assert_eq!(devices.len(), 2);
    for device in devices {
        for key in ["device_id", "name", "platform", "created_at", "last_active_at", "current"] {
            assert!(device.get(key).is_some(), "{key} is missing in {device}");
        }
        assert_eq!(device["current"], device["device_id"] == one.device.as_str());
    }
    let mut socket = two.connect().await;
    socket.settle().await;
    assert_eq!(one.delete(&format!("/auth/devices/{}", two.device)).await.status, 204);
    two.get("/users/me").await.refused(401, "TOKEN_INVALID");
    assert_eq!(socket.close_code().await, 4001);
    assert_eq!(one.get("/auth/devices").await.ok(200).as_array().unwrap().len(), 1);

    one.delete(&format!("/auth/devices/{}", uuid::Uuid::new_v4())).await.refused(404, "DEVICE_NOT_FOUND");
    one.delete("/auth/devices/nonsense").await.refused(400, "BAD_REQUEST");
    let stranger = server.somebody().await;
    stranger.delete(&format!("/auth/devices/{}", one.device)).await.refused(404, "DEVICE_NOT_FOUND");
    one.get("/users/me").await.ok(200);
}

#[tokio::test]
async fn codes_are_limited_by_phone_and_echoed_only_where_configured() {
    let server = TestServer::with(|config| {
        config.limits.enabled = true;
        config.dev.echo_otp = false;
    })
    .await;
    let phone = fresh_phone();
    for _ in 0..3 {
        let answer = server.post("/auth/request-otp", json!({ "phone": phone })).await.ok(200);
        assert!(answer.get("otp").is_none(), "{answer}");
    }
    let refused = server.post("/auth/request-otp", json!({ "phone": phone })).await;
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=300).contains(&wait), "{wait}");
    refused.refused(429, "RATE_LIMITED");
    server.post("/auth/request-otp", json!({ "phone": fresh_phone() })).await.ok(200);
}
