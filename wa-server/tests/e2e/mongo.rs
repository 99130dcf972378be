//! What is known of files kept in MongoDB, over the whole way of a file.

use reqwest::Method;
use serde_json::json;

use crate::media::{png, try_upload};
use crate::support::{TestServer, http};

#[tokio::test]
#[ignore = "needs a MongoDB"]
async fn a_file_goes_all_its_way_with_what_is_known_of_it_in_mongo() {
    let server = std::env::var("WA_TEST_MONGO").expect("WA_TEST_MONGO names a MongoDB: run `make services-up` and do what it says");
    let url = server.replace("/?", &format!("/wa_{}?", uuid::Uuid::now_v7().simple()));
    let server = TestServer::with(|config| config.storage.messages = Some(url)).await;
    let (alice, bob, chat) = server.couple().await;
    let media = try_upload(&alice, "image", "a.png", png(400, 300, 9)).await.ok(201);
    let body = json!({ "client_msg_id": "1", "type": "image", "payload": { "media_id": media["media_id"] } });
    alice.post(&format!("/chats/{chat}/messages"), body).await.ok(201);
    let messages = bob.get(&format!("/chats/{chat}/messages")).await.ok(200);
    let payload = &messages["messages"][0]["payload"];
    assert_eq!((&payload["width"], &payload["mime_type"]), (&json!(400), &json!("image/png")));
    let file = http().get(payload["media_url"].as_str().expect("an address")).send().await.expect("an answer");
    assert_eq!(file.bytes().await.expect("bytes"), png(400, 300, 9));
    let stranger = server.somebody().await;
    let path = format!("/media/{}", media["media_id"].as_str().expect("an id"));
    stranger.get(&path).await.refused(404, "NOT_FOUND");
    let server = server.restart().await;
    assert_eq!(server.call(Method::GET, &path, Some(&bob.access), None).await.ok(200)["width"], 400, "it is not in memory alone");
    let ready = http().get(server.url("/ready")).send().await.expect("an answer").json::<serde_json::Value>().await.expect("JSON");
    assert_eq!(ready["status"]["messages"], "ok", "{ready}");
}
