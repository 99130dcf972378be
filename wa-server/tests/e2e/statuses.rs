//! Statuses: what mutual contacts see of each other for a day, and nobody else.

use std::time::Duration;

use serde_json::{Value, json};

use crate::media::{png, try_upload};
use crate::support::{Answer, Person, TestServer, http};

const DAY: Duration = Duration::from_secs(86_400);

impl Person {
    async fn post_status(&self, text: &str) -> Value {
        self.post("/users/statuses", json!({ "type": "text", "content": text })).await.ok(201)
    }

    async fn knows(&self, other: &Self) {
        self.post("/users/contacts/sync", json!({ "phone_numbers": [other.phone] })).await.ok(200);
    }

    /// The texts that their contacts show.
    async fn sees(&self) -> Vec<String> {
        let list = self.get("/users/statuses").await.ok(200);
        list.as_array().unwrap().iter().map(|status| status["content"].as_str().unwrap().to_owned()).collect()
    }

    async fn own_statuses(&self) -> Value {
        self.get("/users/statuses/me").await.ok(200)
    }
}

/// Two people who know each other.
async fn friends(server: &TestServer) -> (Person, Person) {
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    alice.knows(&bob).await;
    bob.knows(&alice).await;
    (alice, bob)
}

#[tokio::test]
async fn mutual_contacts_see_a_status_and_its_owner_sees_who_did() {
    let server = TestServer::start().await;
    let (alice, bob) = friends(&server).await;
    let carol = server.somebody().await;
    carol.knows(&alice).await;
    let body = json!({ "type": "text", "content": " hello\nworld ", "caption": "below", "bg_color": "#1E88E5", "unknown": 1 });
    let made = alice.post("/users/statuses", body).await.ok(201);
    assert_eq!((&made["user_id"], &made["type"], &made["content"]), (&json!(alice.id), &json!("text"), &json!("hello\nworld")));
    assert_eq!((&made["caption"], &made["bg_color"], &made["viewers"]), (&json!("below"), &json!("#1E88E5"), &json!([])));
    let second = alice.post_status("second").await;
    assert_eq!((&second["caption"], &second["bg_color"]), (&json!(""), &json!("")));
    assert_eq!(bob.sees().await, ["second", "hello\nworld"], "newest first");
    assert_eq!(carol.sees().await, [] as [String; 0], "she knows Alice, who does not know her");
    assert_eq!(alice.sees().await, [] as [String; 0], "one's own are in another list");

    let id = made["id"].as_str().unwrap();
    for _ in 0..2 {
        bob.post(&format!("/users/statuses/{id}/view"), Value::Null).await.ok(204);
    }
    alice.post(&format!("/users/statuses/{id}/view"), Value::Null).await.ok(204);
    carol.post(&format!("/users/statuses/{id}/view"), Value::Null).await.refused(404, "NOT_FOUND");
    let own = alice.own_statuses().await;
    assert_eq!((&own[0]["viewers"], &own[1]["viewers"]), (&json!([]), &json!([bob.id])));
    let seen = bob.get("/users/statuses").await.ok(200);
    assert_eq!(seen[1]["viewers"], json!([]), "for the owner alone");

    bob.delete(&format!("/users/statuses/{id}")).await.refused(404, "NOT_FOUND");
    alice.delete(&format!("/users/statuses/{id}")).await.ok(204);
    alice.delete(&format!("/users/statuses/{id}")).await.refused(404, "NOT_FOUND");
    bob.post(&format!("/users/statuses/{id}/view"), Value::Null).await.refused(404, "NOT_FOUND");
    assert_eq!(bob.sees().await, ["second"]);
}

#[tokio::test]
async fn a_block_in_either_direction_hides_statuses() {
    let server = TestServer::start().await;
    let (alice, bob) = friends(&server).await;
    let of_alice = alice.post_status("of Alice").await;
    let of_bob = bob.post_status("of Bob").await;
    let view = |status: &Value| format!("/users/statuses/{}/view", status["id"].as_str().unwrap());
    alice.post(&format!("/users/{}/block", bob.id), Value::Null).await.ok(204);
    assert_eq!((alice.sees().await, bob.sees().await), (Vec::new(), Vec::new()));
    bob.post(&view(&of_alice), Value::Null).await.refused(404, "NOT_FOUND");
    alice.post(&view(&of_bob), Value::Null).await.refused(404, "NOT_FOUND");
    alice.delete(&format!("/users/{}/block", bob.id)).await.ok(204);
    assert_eq!((alice.sees().await, bob.sees().await), (vec!["of Bob".to_owned()], vec!["of Alice".to_owned()]));
}

#[tokio::test]
async fn a_status_is_gone_after_a_day_and_with_its_account() {
    let (server, clock) = TestServer::with_clock(|config| config.auth.access_ttl = DAY * 3 / 4).await;
    let (alice, bob) = friends(&server).await;
    let made = alice.post_status("for a day").await;
    let time = |key: &str| wa_core::time::Timestamp::parse(made[key].as_str().unwrap()).unwrap();
    assert_eq!(time("expires_at").since(time("created_at")), DAY);
    clock.advance(DAY / 2);
    assert_eq!(bob.sees().await, ["for a day"]);
    clock.advance(DAY / 2);
    let (alice, bob) = (server.login(&alice.phone).await, server.login(&bob.phone).await);
    assert_eq!((bob.sees().await, alice.own_statuses().await), (Vec::new(), json!([])));
    let id = made["id"].as_str().unwrap();
    bob.post(&format!("/users/statuses/{id}/view"), Value::Null).await.refused(404, "NOT_FOUND");
    alice.delete(&format!("/users/statuses/{id}")).await.refused(404, "NOT_FOUND");

    alice.post_status("the last").await;
    let of_bob = bob.post_status("seen by Alice").await;
    alice.post(&format!("/users/statuses/{}/view", of_bob["id"].as_str().unwrap()), Value::Null).await.ok(204);
    assert_eq!(bob.own_statuses().await[0]["viewers"], json!([alice.id]));
    alice.call(reqwest::Method::DELETE, "/users/me", Some(json!({ "confirm": alice.phone }))).await.ok(204);
    assert_eq!((bob.sees().await, &bob.own_statuses().await[0]["viewers"]), (Vec::new(), &json!([])));
}

#[tokio::test]
async fn a_picture_is_for_those_who_may_see_the_status_that_shows_it() {
    let (server, clock) = TestServer::with_clock(|config| config.auth.access_ttl = DAY * 3 / 4).await;
    let (alice, bob) = friends(&server).await;
    let carol = server.somebody().await;
    let media = try_upload(&alice, "image", "a.png", png(8, 8, 1)).await.ok(201)["media_id"].as_str().unwrap().to_owned();
    let path = format!("/media/{media}");
    bob.get(&path).await.refused(404, "NOT_FOUND");
    bob.post("/users/statuses", json!({ "type": "image", "content": media })).await.refused(422, "VALIDATION_ERROR");
    let text = try_upload(&alice, "document", "a.txt", b"text".to_vec()).await.ok(201);
    alice.post("/users/statuses", json!({ "type": "image", "content": text["media_id"] })).await.refused(422, "VALIDATION_ERROR");
    let body = json!({ "type": "image", "content": media, "caption": "look" });
    let made = alice.post("/users/statuses", body.clone()).await.ok(201);
    assert_eq!((&made["type"], &made["content"], &made["caption"]), (&json!("image"), &json!(media), &json!("look")));
    assert_eq!(bob.get(&path).await.ok(200)["media_id"], media);
    carol.get(&path).await.refused(404, "NOT_FOUND");
    // It has no address that is open to everybody.
    let avatar = Answer::of(http().get(server.url(&format!("/api/v1/media/avatars/{media}")))).await;
    assert_eq!(avatar.status, 404, "{}", avatar.text);
    bob.post(&format!("/users/{}/block", alice.id), Value::Null).await.ok(204);
    bob.get(&path).await.refused(404, "NOT_FOUND");
    bob.delete(&format!("/users/{}/block", alice.id)).await.ok(204);
    alice.delete(&format!("/users/statuses/{}", made["id"].as_str().unwrap())).await.ok(204);
    bob.get(&path).await.refused(404, "NOT_FOUND");
    alice.post("/users/statuses", body).await.ok(201);
    clock.advance(DAY / 2);
    bob.get(&path).await.ok(200);
    clock.advance(DAY / 2);
    server.login(&bob.phone).await.get(&path).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn what_is_shown_is_checked() {
    let server = TestServer::with(|config| config.limits.statuses = 2).await;
    let (alice, bob) = friends(&server).await;
    let refused = async |body: Value| -> Vec<String> {
        let error = alice.post("/users/statuses", body).await.refused(422, "VALIDATION_ERROR");
        error["details"].as_array().unwrap().iter().map(|detail| detail["field"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(refused(json!({ "type": "video", "content": "x" })).await, ["type"]);
    assert_eq!(refused(json!({ "type": "text", "content": " " })).await, ["content"]);
    assert_eq!(refused(json!({ "type": "text", "content": "x".repeat(701) })).await, ["content"]);
    let both = json!({ "type": "text", "content": "\u{0}", "caption": "x".repeat(1025), "bg_color": "red" });
    assert_eq!(refused(both).await, ["content", "caption", "bg_color"]);
    for color in ["#12345", "123456", "#gggggg", "#1234567890"] {
        assert_eq!(refused(json!({ "type": "text", "content": "x", "bg_color": color })).await, ["bg_color"], "{color}");
    }
    assert_eq!(refused(json!({ "type": "image", "content": "no id" })).await, ["content"]);
    assert_eq!(refused(json!({ "type": "image", "content": uuid::Uuid::new_v4() })).await, ["content"]);
    assert_eq!(refused(json!({ "content": "x" })).await, ["type"]);
    alice.get("/users/statuses/nonsense/view").await.refused(405, "METHOD_NOT_ALLOWED");
    alice.post("/users/statuses/nonsense/view", Value::Null).await.refused(400, "BAD_REQUEST");
    alice.delete("/users/statuses/nonsense").await.refused(400, "BAD_REQUEST");
    alice.post_status(&"é".repeat(700)).await;
    alice.post_status("two").await;
    alice.post("/users/statuses", json!({ "type": "text", "content": "three" })).await.refused(409, "CONFLICT");
    // Who gives no read receipts is not named either.
    bob.put("/users/me/privacy", json!({ "read_receipts": false })).await.ok(200);
    let id = alice.own_statuses().await[0]["id"].as_str().unwrap().to_owned();
    bob.post(&format!("/users/statuses/{id}/view"), Value::Null).await.ok(204);
    assert_eq!(alice.own_statuses().await[0]["viewers"], json!([]));
}
