//! Pushes, seen at a provider of this machine: what an offline phone or browser gets, what others do not, and that whatever
//! a provider does, messages flow.

#[path = "push/provider.rs"]
mod provider;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use reqwest::Method;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;
use wa_core::api::{Provision, RegisterDevice, SendMessage};
use wa_core::error::FieldError;
use wa_core::id::{DeviceId, UserId};
use wa_core::ports::{Due, Note, PushOutcome, PushQueue, PushSender, Stored, Turn, Viewer, Waiting};
use wa_core::push::{DeviceToken, Lane, Notice, Platform, PushAddress, PushKey};
use wa_core::session::Caller;
use wa_core::time::Timestamp;
use wa_server::{Chat, Config, Server, StartError, SystemEnv};
use wa_transport::rest::TrustedProxies;

pub(crate) use self::provider::Provider;
use self::provider::{Received, Say};
use crate::support::{MovedClock, PATIENCE, Person, TestServer, config, eventually, http, log, soon};

/// Long enough that nothing falls out of it by itself.
const WINDOW: Duration = Duration::from_secs(100);

/// A server that pushes by a provider of its own, and its clock.
async fn pushing() -> (TestServer, std::sync::Arc<MovedClock>, Provider) {
    let provider = Provider::start().await;
    let (server, clock) = TestServer::with_clock(|config| {
        provider.configure(config);
        config.push.group_window = WINDOW;
    })
    .await;
    (server, clock, provider)
}

impl Person {
    /// Registers a phone for pushes.
    async fn wants_pushes(&self, token: &str) {
        self.put("/users/me/fcm-token", json!({ "token": token, "platform": "android" })).await.ok(204);
    }

    async fn named(self, name: &str) -> Self {
        self.patch("/users/me", json!({ "display_name": name })).await.ok(200);
        self
    }

    async fn group(&self, name: &str, others: &[&Self]) -> String {
        let ids: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
        let answer = self.post("/chats", json!({ "type": "group", "name": name, "participant_ids": ids })).await.ok(201);
        answer["chat_id"].as_str().expect("an id").to_owned()
    }
}

#[tokio::test]
async fn an_offline_phone_gets_exactly_the_pushes_it_should() {
    let (server, clock, provider) = pushing().await;
    let (alice, bob, carol) = (server.somebody().await.named("Alice").await, server.somebody().await, server.somebody().await);
    let (dave, erin) = (server.somebody().await, server.somebody().await);
    for (person, token) in [(&alice, "alice"), (&bob, "bob"), (&carol, "carol"), (&dave, "dave"), (&erin, "erin")] {
        person.wants_pushes(token).await;
    }
    let group = alice.group("Friends", &[&bob, &carol, &dave]).await;
    let mut added = provider.lines(3).await;
    added.sort();
    assert_eq!(added, ["bob: Friends: You were added by Alice", "carol: Friends: You were added by Alice", "dave: Friends: You were added by Alice"]);

    // Carol is here, Dave has muted the group, Erin has blocked Alice.
    let mut socket = carol.connect().await;
    socket.settle().await;
    dave.patch(&format!("/chats/{group}/mute"), json!({ "is_muted": true })).await.ok(204);
    let (with_bob, with_carol, with_erin) = (alice.chat_with(&bob).await, alice.chat_with(&carol).await, alice.chat_with(&erin).await);
    erin.post(&format!("/users/{}/block", alice.id), Value::Null).await.ok(204);
    for number in 1..=5 {
        alice.say(&group, &format!("group {number}")).await;
    }
    alice.say(&with_erin, "withheld").await;
    alice.say(&with_carol, "seen").await;
    let sent = alice.say(&with_bob, "hello Bob").await;

    let pushes = provider.pushes(4).await;
    let push = &pushes[3];
    assert_eq!(push.path, "/v1/projects/wa-test/messages:send");
    assert_eq!(push.headers["authorization"], "Bearer access-1");
    let body = push.json();
    assert_eq!(body["message"]["android"], json!({ "priority": "high", "ttl": "86400s" }));
    assert_eq!(body["message"].get("notification"), None, "data only");
    let data = push.data();
    let expected = json!({
        "type": "message.new", "title": "Alice", "body": "hello Bob", "timestamp": sent["created_at"],
        "chat_id": with_bob, "chatId": with_bob, "chat_type": "direct", "chatType": "direct",
        "message_id": sent["message_id"], "messageId": sent["message_id"], "sender_id": alice.id, "senderId": alice.id,
        "sender_name": "Alice", "senderName": "Alice", "sender_avatar": "", "senderAvatar": "",
        "message_preview": "hello Bob", "messagePreview": "hello Bob", "message_type": "text", "messageType": "text",
    });
    assert_eq!(data, expected);
    assert_eq!(body["message"]["token"], "bob");

    // The window of the group ends.
    clock.advance(WINDOW);
    assert_eq!(provider.lines(5).await[4], "bob: Friends: 5 new messages from Friends");
    // What came to the last push came after everything before it.
    alice.say(&with_bob, "the last").await;
    let lines = provider.lines(6).await;
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[5], "bob: Alice: the last");
    eventually("the count of pushes", async || {
        let metrics = http().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
        (metrics.contains("pushes_sent_total{status=\"sent\"} 6") && metrics.contains("push_batch_size_sum 10")).then_some(())
    })
    .await;

    // One access token served them all, for a claim that the service account signed.
    let [grant] = provider.grants().try_into().expect("one request for an access token");
    let form: std::collections::HashMap<String, String> = url::form_urlencoded::parse(&grant.body).into_owned().collect();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let (header, claims) = claims(&form["assertion"]);
    assert_eq!((&header["alg"], &header["kid"]), (&json!("RS256"), &json!("test-key")));
    assert_eq!(claims["iss"], "push@wa-test.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], format!("http://{}/token", provider.address));
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/firebase.messaging");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
}

/// Header and claims of a signed token.
fn claims(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"));
    let mut json = || serde_json::from_slice(&parts.next().expect("a part")).expect("JSON");
    (json(), json())
}

/// A browser that subscribed: it alone can read what is pushed to it.
struct Browser {
    key: p256::SecretKey,
    auth: [u8; 16],
}

impl Browser {
    fn new(seed: u8) -> Self {
        Self { key: p256::SecretKey::from_slice(&[seed; 32]).expect("a key"), auth: [seed; 16] }
    }

    fn public(&self) -> Vec<u8> {
        self.key.public_key().to_encoded_point(false).as_bytes().to_vec()
    }

    fn subscription(&self, endpoint: &str) -> Value {
        let keys = json!({ "p256dh": URL_SAFE_NO_PAD.encode(self.public()), "auth": URL_SAFE_NO_PAD.encode(self.auth) });
        json!({ "token": endpoint, "platform": "web", "keys": keys })
    }

    /// RFC 8291, section 3, from the browser's side, on other primitives than the server's.
    fn decrypt(&self, body: &[u8]) -> Value {
        let (salt, rest) = body.split_at(16);
        assert_eq!(u32::from_be_bytes(rest[..4].try_into().unwrap()), 4096);
        assert_eq!(rest[4], 65);
        let (server_key, sealed) = rest[5..].split_at(65);
        assert!(body.len() <= 4096);
        let theirs = p256::PublicKey::from_sec1_bytes(server_key).expect("a point");
        let shared = p256::ecdh::diffie_hellman(self.key.to_nonzero_scalar(), theirs.as_affine());
        let info = [b"WebPush: info\0".as_slice(), &self.public(), server_key].concat();
        let secret = expand(&hmac(&self.auth, shared.raw_secret_bytes()), &info, 32);
        let prk = hmac(salt, &secret);
        let (key, nonce) = (expand(&prk, b"Content-Encoding: aes128gcm\0", 16), expand(&prk, b"Content-Encoding: nonce\0", 12));
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).expect("a key"));
        let mut sealed = sealed.to_vec();
        let text = key.open_in_place(Nonce::try_assume_unique_for_key(&nonce).expect("a nonce"), Aad::empty(), &mut sealed).expect("opens");
        let (delimiter, text) = text.split_last().expect("a delimiter");
        assert_eq!(*delimiter, 2);
        serde_json::from_slice(text).expect("JSON")
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    use hmac::Mac as _;
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The first block of HKDF is enough here.
fn expand(prk: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    hmac(prk, &[info, &[1]].concat())[..length].to_vec()
}

#[tokio::test]
async fn a_browser_reads_the_push_that_was_encrypted_to_it() {
    let (server, _clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    let alice = alice.named("Alice").await;
    let browser = Browser::new(9);
    bob.put("/users/me/fcm-token", browser.subscription(&format!("http://{}/wpush/v2/abc", provider.address))).await.ok(204);
    let sent = alice.say(&chat, "for Bob's eyes alone").await;
    let pushes = provider.pushes(1).await;
    let push: &Received = &pushes[0];
    assert_eq!(push.path, "/wpush/v2/abc");
    let header = |name: &str| push.headers[name].as_str();
    assert_eq!((header("content-encoding"), header("ttl"), header("urgency")), ("aes128gcm", "86400", "high"));
    assert_eq!(header("topic"), sent["message_id"].as_str().unwrap().replace('-', ""));
    let text = String::from_utf8_lossy(&push.body);
    assert!(!text.contains("eyes") && !text.contains(&alice.id));
    let data = browser.decrypt(&push.body);
    assert_eq!((&data["title"], &data["body"], &data["message_id"]), (&json!("Alice"), &json!("for Bob's eyes alone"), &sent["message_id"]));

    // Signed by the key that the server names.
    let key = bob.get("/push/vapid-key").await.ok(200)["public_key"].as_str().unwrap().to_owned();
    let (token, named) = header("authorization").strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k=")).expect("its form");
    assert_eq!(named, key);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let point = URL_SAFE_NO_PAD.decode(&key).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).expect("verifies");
    let (_, claims) = claims(token);
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(format!("http://{}", provider.address)), &json!("mailto:admin@example.org")));

    // The key outlives a restart, and so do subscriptions.
    let server = server.restart().await;
    let alice = server.login(&alice.phone).await;
    alice.say(&chat, "again").await;
    let pushes = provider.pushes(2).await;
    assert_eq!(browser.decrypt(&pushes[1].body)["body"], "again");
    assert!(pushes[1].headers["authorization"].ends_with(&key));
}

#[tokio::test]
async fn subscriptions_into_private_networks_are_refused() {
    let (server, _clock, provider) = pushing().await;
    let bob = server.somebody().await;
    let browser = Browser::new(9);
    for endpoint in [
        "http://push.example.org/x",
        "https://10.0.0.1/x",
        "https://192.168.0.1:8443/x",
        "https://[fd00::1]/x",
        "http://169.254.169.254/x",
        "abc",
        "ftp://push.example.org/x",
    ] {
        let error = bob.put("/users/me/fcm-token", browser.subscription(endpoint)).await.refused(422, "VALIDATION_ERROR");
        assert_eq!(error["details"][0]["field"], "token", "{endpoint}");
    }
    let endpoint = format!("http://{}/x", provider.address);
    for (keys, field) in [(json!(null), "keys"), (json!({ "p256dh": "x", "auth": "y" }), "keys.p256dh")] {
        let error = bob.put("/users/me/fcm-token", json!({ "token": endpoint, "platform": "web", "keys": keys })).await.refused(422, "VALIDATION_ERROR");
        assert_eq!(error["details"][0]["field"], field);
    }
    let error = bob.put("/users/me/fcm-token", json!({ "token": "x", "platform": "palm" })).await.refused(422, "VALIDATION_ERROR");
    assert_eq!(error["details"][0]["field"], "platform");
    bob.put("/users/me/fcm-token", json!({})).await.refused(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_server_that_others_reach_calls_nothing_on_its_own_machine_for_them() {
    let changes: [fn(&mut Config); 2] = [
        |config| config.server.public_url = Some("https://chat.example.org".parse().expect("a URL")),
        |config| config.server.trusted_proxies = TrustedProxies::parse(&["10.0.0.0/8"]).expect("a range"),
    ];
    for change in changes {
        let server = TestServer::with(change).await;
        let bob = server.somebody().await;
        let browser = Browser::new(9);
        for endpoint in ["http://127.0.0.1:9/x", "http://localhost:9/x", "https://[::1]:9/x"] {
            let error = bob.put("/users/me/fcm-token", browser.subscription(endpoint)).await.refused(422, "VALIDATION_ERROR");
            assert_eq!(error["details"][0]["field"], "token", "{endpoint}");
        }
    }
}

#[tokio::test]
async fn a_push_service_ends_a_subscription_refuses_a_push_or_wants_it_later() {
    for (status, body, outcome) in [
        (403, Value::Null, "gone"),
        (403, json!({ "reason": "BadJwtToken" }), "failed"),
        (404, Value::Null, "gone"),
        (400, Value::Null, "refused"),
        (413, Value::Null, "refused"),
        (408, Value::Null, "failed"),
        (429, Value::Null, "failed"),
    ] {
        let (server, _clock, provider) = pushing().await;
        let (alice, bob, chat) = server.couple().await;
        bob.put("/users/me/fcm-token", Browser::new(9).subscription(&format!("http://{}/x", provider.address))).await.ok(204);
        provider.say([Say::Status(status, "", body)]);
        alice.say(&chat, "hello").await;
        eventually(&format!("what {status} means"), async || {
            let metrics = http().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
            metrics.contains(&format!("pushes_sent_total{{status=\"{outcome}\"}} 1")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_ends_with_its_device_and_moves_with_its_owner() {
    let (server, _clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    let (second, third) = (server.login(&bob.phone).await, server.login(&bob.phone).await);
    for (device, token) in [(&bob, "first"), (&second, "second"), (&third, "third")] {
        device.wants_pushes(token).await;
    }
    let mut seen = 0;
    let mut tokens_of = async |body: &str, count: usize| {
        alice.say(&chat, body).await;
        let lines = provider.lines(seen + count).await;
        let mut tokens: Vec<String> = lines[seen..].iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        seen += count;
        tokens.sort();
        tokens
    };
    assert_eq!(tokens_of("one", 3).await, ["first", "second", "third"]);
    second.post("/auth/logout", json!({})).await.ok(200);
    assert_eq!(tokens_of("two", 2).await, ["first", "third"]);
    bob.delete(&format!("/auth/devices/{}", third.device)).await.ok(204);
    assert_eq!(tokens_of("three", 1).await, ["first"]);
    // The same phone, another account.
    let carol = server.somebody().await;
    carol.wants_pushes("first").await;
    bob.wants_pushes("fourth").await;
    assert_eq!(tokens_of("four", 1).await, ["fourth"]);
    bob.call(Method::DELETE, "/users/me/fcm-token", Some(json!({ "token": "first" }))).await.ok(204);
    bob.call(Method::DELETE, "/users/me/fcm-token", Some(json!({ "token": "fourth" }))).await.ok(204);
    bob.wants_pushes("fifth").await;
    assert_eq!(tokens_of("five", 1).await, ["fifth"]);
    bob.delete("/users/me/fcm-token").await.ok(204);
    let with_carol = alice.chat_with(&carol).await;
    alice.say(&chat, "six").await;
    alice.say(&with_carol, "seven").await;
    let lines = provider.lines(seen + 1).await;
    assert!(lines[seen].starts_with("first: "), "{lines:?}");
}

#[tokio::test]
async fn existing_clients_register_devices_in_their_own_spelling() {
    let (server, _clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    let made = bob.post("/users/devices", json!({ "token": "a:b/c", "platform": "ios" })).await.ok(201);
    assert_eq!((&made["token"], &made["platform"], &made["user_id"]), (&json!("a:b/c"), &json!("ios"), &json!(bob.id)));
    assert!(made["id"].is_string() && made["created_at"].is_string() && made["updated_at"].is_string());
    bob.post("/notifications/devices", json!({ "token": "second" })).await.ok(201);
    alice.say(&chat, "one").await;
    let pushes = provider.pushes(2).await;
    let ios = pushes.iter().map(Received::json).find(|body| body["message"]["token"] == "a:b/c").expect("the phone's");
    assert_eq!(ios["message"]["apns"]["payload"]["aps"]["content-available"], 1);
    bob.delete("/users/devices/a%3Ab%2Fc").await.ok(204);
    alice.say(&chat, "two").await;
    assert!(provider.lines(3).await[2].starts_with("second: "));
    bob.delete("/notifications/devices/second").await.ok(204);
    bob.post("/notifications/devices", json!({ "token": "third" })).await.ok(201);
    bob.call(Method::DELETE, "/notifications/devices", Some(json!({ "token": "third" }))).await.ok(204);
    bob.post("/users/devices", json!({ "token": "fourth" })).await.ok(201);
    alice.say(&chat, "three").await;
    assert!(provider.lines(4).await[3].starts_with("fourth: "));
}

#[tokio::test]
async fn a_crash_between_message_and_push_loses_none_and_repeats_none() {
    let provider = Provider::start().await;
    let server = TestServer::with(|config| {
        provider.configure(config);
        config.push.group_window = Duration::from_secs(2);
    })
    .await;
    let (alice, bob, chat) = server.couple().await;
    let alice = alice.named("Alice").await;
    bob.wants_pushes("bob").await;
    alice.say(&chat, "before").await;
    provider.lines(1).await;
    let group = alice.group("Friends", &[&bob]).await;
    provider.lines(2).await;
    alice.say(&group, "one").await;
    alice.say(&group, "two").await;
    let server = server.crash().await;
    let alice = server.login(&alice.phone).await;
    let lines = provider.lines(3).await;
    assert_eq!(lines[2], "bob: Friends: 2 new messages from Friends");
    alice.say(&chat, "after").await;
    let lines = provider.lines(4).await;
    assert_eq!(lines[3], "bob: Alice: after", "{lines:?}");
}

#[tokio::test]
async fn a_shutdown_sends_what_waits_for_its_window() {
    let (server, _clock, provider) = pushing().await;
    let (alice, bob, carol) = (server.somebody().await.named("Alice").await, server.somebody().await, server.somebody().await);
    let group = alice.group("Friends", &[&bob, &carol]).await;
    bob.wants_pushes("bob").await;
    carol.wants_pushes("carol").await;
    let mut socket = carol.connect().await;
    socket.settle().await;
    alice.say(&group, "one").await;
    alice.say(&group, "two").await;
    // Once Carol has them, they are noted as well.
    socket.expect("message.new").await;
    socket.expect("message.new").await;
    let fence = alice.chat_with(&bob).await;
    alice.say(&fence, "fence").await;
    provider.lines(1).await;
    server.stop().await;
    let lines = provider.lines(2).await;
    assert_eq!(lines, ["bob: Alice: fence", "bob: Friends: 2 new messages from Friends"], "and none to Carol, who saw them");
}

#[tokio::test]
async fn a_shutdown_waits_for_what_is_on_its_way() {
    let provider = Provider::start().await;
    let server = TestServer::with(|config| {
        provider.configure(config);
        config.push.group_window = Duration::from_secs(2);
    })
    .await;
    let (alice, bob, chat) = server.couple().await;
    bob.wants_pushes("bob").await;
    let phone = alice.phone.clone();
    let answer = Arc::new(Notify::new());
    provider.say([Say::Later(Arc::clone(&answer))]);
    let said = alice.say(&chat, "before").await;
    assert_eq!(provider.pushes(1).await[0].data()["message_id"], said["message_id"]);
    let mut stopping = tokio::spawn(server.stop());
    // It does not end before the answer has come.
    let ended = tokio::time::timeout(Duration::from_secs(2), &mut stopping).await;
    answer.notify_one();
    let (config, data) = match ended {
        Ok(ended) => ended.expect("no panic"),
        Err(_) => stopping.await.expect("no panic"),
    };
    let server = TestServer::run(config, data, |builder| builder).await;
    let alice = server.login(&phone).await;
    let said = alice.say(&chat, "after").await;
    assert_eq!(provider.pushes(2).await[1].data()["message_id"], said["message_id"], "what was sent is not sent again");
}

/// A queue that reads what is due while a push is on its way, and tells it when that has arrived; and a provider that answers
/// no earlier.
#[derive(Clone)]
struct Slow {
    queue: Arc<dyn PushQueue>,
    pushed: Arc<Mutex<Vec<String>>>,
    waits: Arc<AtomicBool>,
    read: Arc<Notify>,
    told: Arc<Notify>,
}

#[async_trait]
impl PushSender for Slow {
    fn check(&self, _: Platform, _: &PushAddress) -> Result<(), FieldError> {
        Ok(())
    }
    async fn send(&self, _: &DeviceToken, notice: &Notice) -> PushOutcome {
        self.pushed.lock().expect("is whole").push(notice.body.clone());
        self.waits.store(true, Ordering::SeqCst);
        self.read.notified().await;
        PushOutcome::Sent
    }
}

#[async_trait]
impl PushQueue for Slow {
    async fn reachable(&self, users: &[UserId]) -> Stored<Vec<UserId>> {
        self.queue.reachable(users).await
    }
    async fn note(&self, notes: Vec<Note>) -> Stored<()> {
        self.queue.note(notes).await
    }
    async fn take_turn(&self) -> Stored<Turn> {
        self.queue.take_turn().await
    }
    async fn due(&self, lane: Lane, by: Timestamp, failed: u32, limit: usize) -> Stored<Vec<Due>> {
        let due = self.queue.due(lane, by, failed, limit).await;
        if lane == Lane::Phones && self.waits.swap(false, Ordering::SeqCst) {
            self.read.notify_one();
            self.told.notified().await;
            // Whoever waited for that has seen it.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        due
    }
    async fn waiting(&self, viewer: &Viewer, since: Timestamp) -> Stored<Option<Waiting>> {
        self.queue.waiting(viewer, since).await
    }
    async fn told(&self, key: PushKey, up_to: i64, next_due: Timestamp) -> Stored<()> {
        self.queue.told(key, up_to, next_due).await?;
        self.told.notify_one();
        Ok(())
    }
    async fn postpone(&self, key: PushKey, until: Timestamp, failed: bool) -> Stored<()> {
        self.queue.postpone(key, until, failed).await
    }
    async fn resume(&self, not_before: Timestamp) -> Stored<()> {
        self.queue.resume(not_before).await
    }
}

#[tokio::test]
async fn a_push_that_arrives_while_it_is_read_what_is_due_is_sent_once() {
    let data = tempfile::tempdir().expect("a directory");
    let mut stores = wa_storage::open(&wa_storage::StorageConfig::in_memory(), Arc::new(SystemEnv)).await.expect("opens");
    let slow = Slow { queue: Arc::clone(&stores.push_queue), pushed: Arc::default(), waits: Arc::default(), read: Arc::default(), told: Arc::default() };
    stores.push_queue = Arc::new(slow.clone());
    let chat = Chat::builder(config(&data)).stores(Arc::new(stores)).push_sender(slow.clone()).build().await.expect("is built");
    let caller = |number| Caller { user_id: UserId::from_uuid(Uuid::from_u128(number)), device_id: DeviceId::from_uuid(Uuid::from_u128(number)) };
    let (alice, bob) = (caller(1), caller(2));
    for who in [&alice, &bob] {
        chat.users().provision(Provision { id: who.user_id, phone: None, display_name: "Somebody".to_owned() }).await.expect("is made");
    }
    chat.push().register(&bob, RegisterDevice { token: "bob".to_owned(), platform: None, keys: None }).await.expect("is registered");
    let (direct, _) = chat.chats().create_direct(&alice, bob.user_id).await.expect("is made");
    for (count, body) in [(1, "one"), (2, "two"), (3, "three")] {
        let message = SendMessage {
            chat_id: direct.chat_id,
            client_msg_id: body.to_owned(),
            kind: "text".to_owned(),
            payload: json!({ "body": body }),
            reply_to_message_id: None,
            origin: None,
        };
        chat.messages().send(&alice, message).await.expect("is sent");
        eventually("the push", async || (slow.pushed.lock().expect("is whole").len() >= count).then_some(())).await;
    }
    assert_eq!(*slow.pushed.lock().expect("is whole"), ["one", "two", "three"]);
    chat.shutdown().await;
}

#[tokio::test]
async fn access_tokens_that_nobody_gives_are_asked_for_once_for_all() {
    let (server, _clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    for number in 0..8 {
        bob.wants_pushes(&format!("phone {number}").replace(' ', "-")).await;
    }
    // It is waited for only so long; those who waited as well do not begin anew, one after the other.
    provider.say_to_grants([Say::Nothing]);
    alice.say(&chat, "hello").await;
    eventually("eight failures", async || {
        let metrics = http().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
        metrics.contains("pushes_sent_total{status=\"failed\"} 8").then_some(())
    })
    .await;
    assert_eq!(provider.grants().len(), 1);
}

/// Messages flow and their push arrives in the end, whatever the provider says first. `pause` is how much time passes until
/// it is asked again.
async fn outlives(script: impl IntoIterator<Item = Say>, pauses: &[u64]) -> (TestServer, Provider, Vec<Received>) {
    let (server, clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    let alice = alice.named("Alice").await;
    bob.wants_pushes("bob").await;
    provider.say(script);
    messages_flow(&server, &alice, &bob, &chat).await;
    let mut pushes = provider.pushes(1).await;
    for pause in pauses {
        pushes = next_push(&provider, &clock, pushes.len(), Duration::from_secs(*pause)).await;
    }
    assert!(pushes.iter().all(|push| push.line() == "bob: Alice: to be pushed"));
    (server, provider, pushes)
}

/// The push after so many, while time passes in such steps: when exactly the server notes that one failed is its own affair.
async fn next_push(provider: &Provider, clock: &MovedClock, after: usize, step: Duration) -> Vec<Received> {
    soon("the next push", async {
        loop {
            clock.advance(step);
            if let Ok(pushes) = tokio::time::timeout(Duration::from_millis(500), provider.pushes(after + 1)).await {
                return pushes;
            }
        }
    })
    .await
}

/// A message to Bob, who is away, and one to somebody who is here.
async fn messages_flow(server: &TestServer, alice: &Person, bob: &Person, chat: &str) {
    alice.say(chat, "to be pushed").await;
    let carol = server.somebody().await;
    let with_carol = alice.chat_with(&carol).await;
    let mut socket = carol.connect().await;
    socket.settle().await;
    alice.say(&with_carol, "hello").await;
    assert_eq!(socket.expect("message.new").await["payload"]["body"], "hello");
    assert_eq!(bob.texts(chat).await, ["to be pushed"]);
}

fn fcm_error(status: u16, code: &str) -> Say {
    let details = json!([{ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code }]);
    Say::Status(status, "", json!({ "error": { "code": status, "message": code, "status": code, "details": details } }))
}

#[tokio::test]
async fn a_provider_that_answers_401_is_asked_again_with_a_new_access_token() {
    let (_server, provider, pushes) = outlives([Say::Status(401, "", json!({ "error": { "code": 401, "status": "UNAUTHENTICATED" } }))], &[]).await;
    let pushes = if pushes.len() < 2 { provider.pushes(2).await } else { pushes };
    assert_eq!((pushes[0].headers["authorization"].as_str(), pushes[1].headers["authorization"].as_str()), ("Bearer access-1", "Bearer access-2"));
}

#[tokio::test]
async fn a_provider_that_knows_a_token_no_more_ends_it() {
    for answer in [
        fcm_error(404, "UNREGISTERED"),
        Say::Status(404, "", json!({ "error": { "code": 404, "status": "NOT_FOUND" } })),
        fcm_error(400, "INVALID_ARGUMENT"),
        fcm_error(403, "SENDER_ID_MISMATCH"),
    ] {
        let (server, clock, provider) = pushing().await;
        let (alice, bob, chat) = server.couple().await;
        bob.wants_pushes("stale").await;
        provider.say([answer]);
        messages_flow(&server, &alice, &bob, &chat).await;
        provider.pushes(1).await;
        bob.wants_pushes("fresh").await;
        alice.say(&chat, "more").await;
        clock.advance(Duration::from_secs(3600));
        let lines = provider.lines(2).await;
        assert!(lines[1].starts_with("fresh: "), "{lines:?}");
    }
}

#[tokio::test]
async fn whoever_answers_in_the_place_of_a_provider_ends_no_token() {
    let (_server, _provider, pushes) = outlives([Say::Status(404, "", Value::Null), Say::Status(410, "", json!({ "error": "gone" }))], &[2, 3]).await;
    assert_eq!(pushes.len(), 3);
}

#[tokio::test]
async fn a_key_for_apple_that_is_wrong_holds_up_nobody_else() {
    let (server, clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    let carol = server.somebody().await;
    let with_carol = alice.chat_with(&carol).await;
    carol.wants_pushes("carol").await;
    for number in 0..6 {
        bob.put("/users/me/fcm-token", json!({ "token": format!("ios-{number}"), "platform": "ios" })).await.ok(204);
    }
    provider.say(std::iter::repeat_n(fcm_error(401, "THIRD_PARTY_AUTH_ERROR"), 6));
    alice.say(&chat, "to Apple's phones").await;
    provider.pushes(6).await;
    alice.say(&with_carol, "to another").await;
    assert!(provider.lines(7).await[6].starts_with("carol: "));
    assert_eq!(provider.grants().len(), 1, "the access token is a good one");
    next_push(&provider, &clock, 7, Duration::from_secs(75)).await;
}

#[tokio::test]
async fn a_provider_that_answers_429_is_left_alone_as_long_as_it_says() {
    let (_server, _provider, pushes) = outlives([Say::Status(429, "retry-after: 30\r\n", json!({}))], &[37]).await;
    assert_eq!(pushes.len(), 2);
}

#[tokio::test]
async fn a_provider_that_answers_500_is_asked_three_times_more_and_then_seldom() {
    let script = std::iter::repeat_n(Say::Status(500, "", json!({ "error": "broken" })), 4);
    let (_server, _provider, pushes) = outlives(script, &[2, 3, 5, 37]).await;
    assert_eq!(pushes.len(), 5);
}

#[tokio::test]
async fn a_provider_that_answers_garbage_or_hangs_up_is_asked_again() {
    let (_server, _provider, pushes) = outlives([Say::Garbage, Say::HangUp, Say::Status(200, "", json!("what?"))], &[2, 3]).await;
    assert_eq!(pushes.len(), 3);
}

#[tokio::test]
async fn a_provider_that_answers_nothing_holds_up_no_message_and_no_shutdown() {
    let (server, _provider, _) = outlives([Say::Nothing], &[]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_asked_again_until_it_is() {
    let (server, clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    bob.wants_pushes("bob").await;
    let address: SocketAddr = provider.address;
    drop(provider);
    messages_flow(&server, &alice, &bob, &chat).await;
    let provider = Provider::on(address).await;
    next_push(&provider, &clock, 0, Duration::from_secs(40)).await;
}

#[tokio::test]
async fn access_tokens_that_are_not_given_hold_up_no_message() {
    for say in [Say::Status(401, "", json!({ "error": "invalid_grant" })), Say::Status(200, "", json!("garbage")), Say::Garbage, Say::HangUp] {
        let (server, clock, provider) = pushing().await;
        let (alice, bob, chat) = server.couple().await;
        bob.wants_pushes("bob").await;
        provider.say_to_grants([say]);
        messages_flow(&server, &alice, &bob, &chat).await;
        soon("the request for an access token", async {
            while provider.grants().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // It is asked for again when the push is.
        next_push(&provider, &clock, 0, Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn without_credentials_there_is_one_clear_warning_and_everything_else_works() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    bob.wants_pushes("bob").await;
    messages_flow(&server, &alice, &bob, &chat).await;
    let logged = async {
        while !log().contains("a push was not sent: no provider is configured") {
            tokio::task::yield_now().await;
        }
    };
    soon("a line in the log", logged).await;
    assert!(log().contains("push.fcm_credentials is not set"));
}

/// Why a server with this configuration does not start.
async fn refused(change: impl FnOnce(&mut Config)) -> StartError {
    let data = tempfile::tempdir().expect("a directory");
    let mut config = config(&data);
    change(&mut config);
    let started = tokio::time::timeout(PATIENCE, Server::builder(config).bind()).await.expect("an answer");
    started.err().expect("refused")
}

#[tokio::test]
async fn credentials_that_cannot_be_used_are_told_at_start() {
    let at = |text: Option<&'static str>| {
        move |config: &mut Config| {
            let path = config.server.data_dir.join("account.json");
            if let Some(text) = text {
                std::fs::write(&path, text).expect("written");
            }
            config.push.fcm_credentials = Some(path);
        }
    };
    let absent = refused(at(None)).await.to_string();
    assert!(absent.contains("push.fcm_credentials: cannot read") && absent.contains("account.json"), "{absent}");
    let none = refused(at(Some("{}"))).await.to_string();
    assert!(none.contains("is not the JSON of a Google service account"), "{none}");
    let key = r#"{"project_id":"x","client_email":"x@y","private_key":"-----BEGIN hunter2"}"#;
    let key = refused(at(Some(key))).await.to_string();
    assert!(key.contains("has a private_key that is no RSA key") && !key.contains("hunter2"), "{key}");
}

#[tokio::test]
async fn tokens_endpoints_and_texts_of_pushes_are_in_no_log() {
    let (server, _clock, provider) = pushing().await;
    let (alice, bob, chat) = server.couple().await;
    let (token, path, said) = ("a-token-that-nobody-may-see", "an-endpoint-that-nobody-may-see", "a text that is for Bob alone, pushed");
    bob.wants_pushes(token).await;
    let browser = Browser::new(9);
    bob.put("/users/me/fcm-token", browser.subscription(&format!("http://{}/{path}", provider.address))).await.ok(204);
    provider.say([Say::HangUp, Say::HangUp, fcm_error(500, "INTERNAL"), fcm_error(404, "UNREGISTERED")]);
    alice.say(&chat, said).await;
    provider.pushes(2).await;
    bob.delete(&format!("/users/devices/{token}")).await.ok(204);
    drop(server.stop().await);
    let log = log();
    for secret in [token, path, said, "access-1", &URL_SAFE_NO_PAD.encode(browser.public())] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{secret}: {lines:?}");
    }
}
