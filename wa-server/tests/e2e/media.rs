//! Files: uploaded, sent, seen by those who may, fetched under signed addresses, and gone when they should be; pictures of
//! users and groups.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, Person, TestServer, eventually, http, log, soon};

/// A picture of this size; no two seeds give the same.
pub(crate) fn png(width: u32, height: u32, seed: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..width * height).flat_map(|number| [u8::try_from(number % 251).unwrap(), seed, seed.wrapping_mul(3)]).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}

const PDF: &[u8] = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n";

fn form(part: &'static str, bytes: Vec<u8>, name: &str) -> Form {
    Form::new().part(part, Part::bytes(bytes).file_name(name.to_owned()))
}

async fn send_form(person: &Person, method: Method, path: &str, form: Form) -> Answer {
    Answer::of(http().request(method, format!("http://{}/api/v1{path}", person.address)).bearer_auth(&person.access).multipart(form)).await
}

pub(crate) async fn try_upload(person: &Person, kind: &str, name: &str, bytes: Vec<u8>) -> Answer {
    send_form(person, Method::POST, "/media/upload", form("file", bytes, name).text("type", kind.to_owned())).await
}

pub(crate) async fn upload(person: &Person, kind: &str, name: &str, bytes: Vec<u8>) -> Value {
    try_upload(person, kind, name, bytes).await.ok(201)
}

async fn try_send(person: &Person, chat: &str, kind: &str, payload: Value) -> Answer {
    let body = json!({ "client_msg_id": uuid::Uuid::new_v4().to_string(), "type": kind, "payload": payload });
    person.post(&format!("/chats/{chat}/messages"), body).await
}

async fn send(person: &Person, chat: &str, kind: &str, media: &Value) -> Value {
    try_send(person, chat, kind, json!({ "media_id": media["media_id"] })).await.ok(201)
}

/// What is under an address.
async fn fetch(url: &Value, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let request = headers.iter().fold(http().get(url.as_str().expect("an address")), |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.headers().clone(), response.bytes().await.unwrap().to_vec())
}

async fn sees(person: &Person, media: &Value) -> bool {
    let path = format!("/media/{}", media["media_id"].as_str().unwrap());
    let answer = person.get(&path).await;
    if answer.status == 200 {
        return true;
    }
    answer.refused(404, "NOT_FOUND");
    person.get(&format!("{path}/download")).await.refused(404, "NOT_FOUND");
    false
}

async fn group(admin: &Person, others: &[&Person]) -> String {
    let ids: Vec<&str> = others.iter().map(|person| person.id.as_str()).collect();
    let chat = admin.post("/chats", json!({ "type": "group", "name": "Group", "participant_ids": ids })).await.ok(201);
    chat["chat_id"].as_str().unwrap().to_owned()
}

/// A client that follows no redirects.
fn unled() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

#[tokio::test]
async fn an_uploaded_picture_is_sent_seen_and_fetched() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut socket = bob.connect().await;
    let bytes = png(400, 300, 1);
    let media = upload(&alice, "image", "holiday.png", bytes.clone()).await;
    let keys: Vec<&str> = media.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["checksum_sha256", "duration_ms", "file_type", "height", "media_id", "mime_type", "size_bytes", "thumbnail_url", "type", "url", "width"];
    assert_eq!(keys, expected);
    assert_eq!((&media["type"], &media["file_type"], &media["mime_type"]), (&json!("image"), &json!("image"), &json!("image/png")));
    assert_eq!((&media["width"], &media["height"], &media["duration_ms"]), (&json!(400), &json!(300), &Value::Null));
    assert_eq!(media["size_bytes"], bytes.len());
    assert_eq!(media["checksum_sha256"].as_str().unwrap().len(), 64);

    let sent = try_send(&alice, &chat, "image", json!({ "media_id": media["media_id"], "caption": "the sea" })).await.ok(201);
    let new = socket.expect("message.new").await;
    for payload in [&sent["payload"], &new["payload"]] {
        assert_eq!((&payload["caption"], &payload["mime_type"], &payload["size_bytes"]), (&json!("the sea"), &json!("image/png"), &json!(bytes.len())));
        assert_eq!((&payload["width"], &payload["height"], &payload["duration_ms"]), (&json!(400), &json!(300), &Value::Null));
        assert_eq!((&payload["file_name"], &payload["file_size"], &payload["duration"]), (&json!("holiday.png"), &json!(bytes.len()), &Value::Null));
        let (status, headers, body) = fetch(&payload["media_url"], &[]).await;
        assert_eq!((status, body == bytes), (200, true));
        assert_eq!(
            (&headers["content-type"], &headers["content-disposition"], &headers["x-content-type-options"]),
            (&"image/png".parse().unwrap(), &"inline".parse().unwrap(), &"nosniff".parse().unwrap())
        );
        assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
        let (status, headers, body) = fetch(&payload["thumbnail_url"], &[]).await;
        assert_eq!((status, &headers["content-type"], &body[..3]), (200, &"image/jpeg".parse().unwrap(), &[0xff, 0xd8, 0xff][..]));
        assert!(body.len() < bytes.len().max(20_000));
    }
    let download =
        unled().get(server.url(&format!("/api/v1/media/{}/download", media["media_id"].as_str().unwrap()))).bearer_auth(&bob.access).send().await.unwrap();
    assert_eq!(download.status(), StatusCode::FOUND);
    let (status, headers, body) = fetch(&json!(download.headers()["location"].to_str().unwrap()), &[]).await;
    assert_eq!((status, body == bytes), (200, true));
    assert_eq!(headers["content-disposition"], "attachment; filename=\"holiday.png\"");
    assert!(!log().contains("sig="), "a signed address was logged");
}

#[tokio::test]
async fn a_file_shows_wherever_its_message_does() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let media = upload(&alice, "document", "Bericht über alles.pdf", PDF.to_vec()).await;
    assert_eq!((&media["thumbnail_url"], &media["mime_type"]), (&Value::Null, &json!("application/pdf")));
    let sent = try_send(&alice, &chat, "document", json!({ "media_id": media["media_id"], "filename": "report.pdf", "caption": "quarterly" })).await.ok(201);
    let id = sent["message_id"].as_str().unwrap().to_owned();
    alice.say(&chat, "a text has no file").await;
    bob.post(&format!("/messages/{id}/star"), Value::Null).await.ok(204);

    let mut shown = vec![sent.clone()];
    // Undelivered: pushed when he connects.
    let mut socket = bob.connect().await;
    shown.push(socket.expect("message.new").await);
    shown.push(bob.get(&format!("/chats/{chat}/messages")).await.ok(200)["messages"][1].clone());
    shown.push(bob.get(&format!("/chats/{chat}/messages?after_seq=0")).await.ok(200)["messages"][0].clone());
    shown.push(
        bob.post("/sync", json!({ "chats": {} })).await.ok(200)["chats"][0]["messages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|message| message["message_id"] == *id)
            .unwrap()
            .clone(),
    );
    shown.push(
        socket.ask("sync", json!({ "chats": {} })).await["data"]["chats"][0]["messages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|message| message["message_id"] == *id)
            .unwrap()
            .clone(),
    );
    shown.push(bob.get("/messages/starred").await.ok(200)["messages"][0].clone());
    shown.push(bob.get(&format!("/chats/{chat}/messages/search?q=quarterly")).await.ok(200)["results"][0]["message"].clone());
    shown.push(bob.get("/messages/search?q=quarterly").await.ok(200)["results"][0]["message"].clone());
    let forwarded = bob.post(&format!("/messages/{id}/forward"), json!({ "target_chat_ids": [chat] })).await.ok(201);
    shown.push(socket.until("the forward", |frame| frame["data"]["message_id"] == forwarded["forwarded_messages"][0]["message_id"]).await["data"].clone());
    shown.push(alice.patch(&format!("/messages/{id}"), json!({ "payload": { "caption": "quarterly again" } })).await.ok(200));
    shown.push(socket.expect("message.edited").await);
    for (place, message) in shown.iter().enumerate() {
        let payload = &message["payload"];
        assert_eq!(
            (&payload["filename"], &payload["file_name"], &payload["media_id"]),
            (&json!("report.pdf"), &json!("report.pdf"), &media["media_id"]),
            "{place}: {message}"
        );
        assert_eq!((&payload["mime_type"], &payload["thumbnail_url"]), (&json!("application/pdf"), &Value::Null), "{place}: {message}");
        let (status, headers, body) = fetch(&payload["media_url"], &[]).await;
        assert_eq!((status, body == PDF), (200, true), "{place}");
        let disposition = headers["content-disposition"].to_str().unwrap();
        assert_eq!(disposition, "attachment; filename=\"Bericht _ber alles.pdf\"; filename*=UTF-8''Bericht%20%C3%BCber%20alles.pdf");
    }
    // One look-up serves many: all are given the same address.
    assert!(shown.iter().all(|message| message["payload"]["media_url"] == shown[0]["payload"]["media_url"]));

    alice.delete(&format!("/messages/{id}?for=everyone")).await.ok(204);
    let page = bob.get(&format!("/chats/{chat}/messages?after_seq=0")).await.ok(200);
    assert_eq!(page["messages"][0]["payload"], json!({ "body": "This message was deleted" }));
}

#[tokio::test]
async fn a_file_is_for_those_who_can_see_a_message_with_it() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let carol = server.somebody().await;
    let media = upload(&alice, "image", "a.png", png(10, 10, 1)).await;
    assert!(sees(&alice, &media).await && !sees(&bob, &media).await && !sees(&carol, &media).await);
    let message = send(&alice, &chat, "image", &media).await;
    assert!(sees(&bob, &media).await && !sees(&carol, &media).await);

    // Who forwards it lets the others of that chat see it.
    let theirs = bob.chat_with(&carol).await;
    let forward = bob.post(&format!("/messages/{}/forward", message["message_id"].as_str().unwrap()), json!({ "target_chat_ids": [theirs] })).await.ok(201);
    assert!(sees(&carol, &media).await);
    let forwarded = forward["forwarded_messages"][0]["message_id"].as_str().unwrap();
    bob.delete(&format!("/messages/{forwarded}?for=everyone")).await.ok(204);
    assert!(!sees(&carol, &media).await && sees(&bob, &media).await);
    // For whom it is deleted, it is gone.
    alice.delete(&format!("/messages/{}?for=everyone", message["message_id"].as_str().unwrap())).await.ok(204);
    assert!(!sees(&bob, &media).await && sees(&alice, &media).await);

    // In a group from joining on, until leaving.
    let group = group(&alice, &[&bob]).await;
    send(&alice, &group, "image", &media).await;
    alice.post(&format!("/chats/{group}/participants"), json!({ "user_ids": [carol.id] })).await.ok(204);
    assert!(sees(&bob, &media).await && !sees(&carol, &media).await);
    let message = send(&alice, &group, "image", &media).await;
    assert!(sees(&carol, &media).await);
    bob.delete(&format!("/chats/{group}/participants/{}", bob.id)).await.ok(204);
    assert!(!sees(&bob, &media).await);
    carol.delete(&format!("/messages/{}?for=me", message["message_id"].as_str().unwrap())).await.ok(204);
    assert!(!sees(&carol, &media).await);

    // Past a block nothing gets through.
    bob.post(&format!("/users/{}/block", alice.id), Value::Null).await.ok(204);
    send(&alice, &chat, "image", &media).await;
    assert!(!sees(&bob, &media).await);
}

#[tokio::test]
async fn only_ones_own_file_of_the_right_type_can_be_sent() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let picture = upload(&alice, "image", "a.png", png(10, 10, 2)).await;
    let absent = json!("0190f3f6-7b1c-7c4e-8a57-0242ac120002");
    for (person, kind, id) in
        [(&bob, "image", &picture["media_id"]), (&alice, "video", &picture["media_id"]), (&alice, "document", &picture["media_id"]), (&alice, "image", &absent)]
    {
        let error = try_send(person, &chat, kind, json!({ "media_id": id })).await.refused(422, "VALIDATION_ERROR");
        assert_eq!(error["details"][0]["field"], "payload.media_id");
        let mut socket = person.connect().await;
        let answer = socket.ask("message.send", json!({ "chat_id": chat, "client_msg_id": "k", "type": kind, "payload": { "media_id": id } })).await;
        assert_eq!((&answer["event"], &answer["data"]["name"]), (&json!("error"), &json!("VALIDATION_ERROR")));
        socket.close().await;
    }
    // Who has received it does not own it, but may forward it.
    send(&alice, &chat, "image", &picture).await;
    try_send(&bob, &chat, "image", json!({ "media_id": picture["media_id"] })).await.refused(422, "VALIDATION_ERROR");
    let mut socket = alice.connect().await;
    let sent =
        socket.ask("message.send", json!({ "chat_id": chat, "client_msg_id": "k", "type": "image", "payload": { "media_id": picture["media_id"] } })).await;
    assert_eq!(sent["event"], "message.sent", "{sent}");
}

#[tokio::test]
async fn what_is_no_proper_upload_is_refused_and_leaves_nothing() {
    let server = TestServer::with(|config| {
        config.limits.image_bytes = 20_000;
        config.limits.document_bytes = 50_000;
        config.limits.video_bytes = 50_000;
        config.limits.audio_bytes = 50_000;
        config.limits.avatar_bytes = 10_000;
    })
    .await;
    let alice = server.somebody().await;
    let field = |error: Value| error["details"][0]["field"].as_str().unwrap_or_default().to_owned();
    let post = |form: Form| send_form(&alice, Method::POST, "/media/upload", form);
    let picture = png(10, 10, 3);
    assert_eq!(field(post(form("file", picture.clone(), "a.png")).await.refused(422, "VALIDATION_ERROR")), "type");
    assert_eq!(field(post(form("file", picture.clone(), "a.png").text("type", "sticker")).await.refused(422, "VALIDATION_ERROR")), "type");
    assert_eq!(field(post(Form::new().text("type", "image")).await.refused(422, "VALIDATION_ERROR")), "file");
    assert_eq!(field(post(form("file", Vec::new(), "a.png").text("type", "image")).await.refused(422, "VALIDATION_ERROR")), "file");
    assert_eq!(
        field(
            post(form("file", picture.clone(), "a.png").part("file", Part::bytes(picture.clone())).text("type", "image"))
                .await
                .refused(422, "VALIDATION_ERROR")
        ),
        "file"
    );
    try_upload(&alice, "video", "a.png", picture.clone()).await.refused(400, "MEDIA_INVALID_TYPE");
    try_upload(&alice, "image", "a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()).await.refused(400, "MEDIA_INVALID_TYPE");
    try_upload(&alice, "image", "a.png", picture[..picture.len() / 2].to_vec()).await.refused(400, "MEDIA_INVALID_TYPE");
    // Too large for its type, whether that is said before the file or after; too large for anything.
    let large = vec![b'x'; 30_000];
    post(Form::new().text("type", "image").part("file", Part::bytes(large.clone()))).await.refused(413, "MEDIA_TOO_LARGE");
    post(form("file", large, "a").text("type", "image")).await.refused(413, "MEDIA_TOO_LARGE");
    post(Form::new().part("file", Part::bytes(vec![b'x'; 5_000_000])).text("type", "document")).await.refused(413, "MEDIA_TOO_LARGE");
    post(Form::new().part("padding", Part::bytes(vec![b'x'; 5_000_000])).text("type", "document")).await.refused(413, "PAYLOAD_TOO_LARGE");
    send_form(&alice, Method::PUT, "/users/me/avatar", form("avatar", vec![b'x'; 10_001], "a.png")).await.refused(413, "MEDIA_TOO_LARGE");
    send_form(&alice, Method::PUT, "/users/me/avatar", form("avatar", PDF.to_vec(), "a.png")).await.refused(400, "MEDIA_INVALID_TYPE");
    // No multipart at all, or half of one.
    alice.post("/media/upload", json!({})).await.refused(400, "BAD_REQUEST");
    for body in ["", "--x", "--x\r\n\r\n", "--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nhalf a file"] {
        let request = http().post(server.url("/api/v1/media/upload")).bearer_auth(&alice.access);
        let answer = Answer::of(request.header("content-type", "multipart/form-data; boundary=x").body(body)).await;
        answer.refused(400, "BAD_REQUEST");
    }
    // Who is nobody uploads nothing.
    let nobody = http().post(server.url("/api/v1/media/upload")).multipart(form("file", picture, "a.png"));
    Answer::of(nobody).await.refused(401, "UNAUTHORIZED");
    assert_nothing_lies_in(&server, "staging").await;
    assert_nothing_lies_in(&server, "media").await;
}

/// The files in a folder of the data directory.
fn files(server: &TestServer, folder: &str) -> Vec<std::path::PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![server.data.path().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

async fn assert_nothing_lies_in(server: &TestServer, folder: &str) {
    eventually(&format!("an empty folder {folder}"), || async { files(server, folder).is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn an_upload_that_is_cut_short_leaves_nothing() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /api/v1/media/upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 1000000\r\n\r\n--x\r\ncontent-disposition: form-data; name=\"type\"\r\n\r\ndocument\r\n--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
        alice.access
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 300_000]).await.unwrap();
    eventually("a staged file", || async { (!files(&server, "staging").is_empty()).then_some(()) }).await;
    drop(stream);
    assert_nothing_lies_in(&server, "staging").await;

    // What a killed process left is removed at the next start.
    let (config, data) = server.stop().await;
    std::fs::write(data.path().join("staging").join("upload-left"), b"half").unwrap();
    std::fs::write(data.path().join("media").join(".parts").join("part-left"), b"half").unwrap();
    let server = TestServer::run(config, data, |builder| builder).await;
    assert_nothing_lies_in(&server, "staging").await;
    assert_nothing_lies_in(&server, "media").await;
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    const SIZE: usize = 32 << 20;
    let server = TestServer::with(|config| {
        config.limits.enabled = true;
        config.limits.upload = "1/1m".parse().unwrap();
        config.limits.api_ip = "3/1m".parse().unwrap();
    })
    .await;
    let alice = server.somebody().await;
    try_upload(&alice, "document", "a.pdf", PDF.to_vec()).await.ok(201);
    let send = async |authorization: &str, content_type: &str| {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST /api/v1/media/upload HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}content-type: {content_type}\r\ncontent-length: {SIZE}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // All of it can be sent, although nobody wants it.
        soon("the end of the body", stream.write_all(&vec![b'x'; SIZE])).await.unwrap();
        let mut answer = String::new();
        soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
        answer
    };
    let known = format!("authorization: Bearer {}\r\n", alice.access);
    let form = "multipart/form-data; boundary=x";
    // Of two requests by this address the login was made.
    assert!(send("", form).await.starts_with("HTTP/1.1 401 "), "no token");
    assert!(send("", form).await.starts_with("HTTP/1.1 429 "), "the limit of the address");
    assert!(send(&known, form).await.starts_with("HTTP/1.1 429 "), "the limit of uploads");
}

#[tokio::test]
async fn an_upload_that_stands_still_is_ended() {
    let server = TestServer::with(|config| config.limits.upload_idle = Duration::from_millis(200)).await;
    let alice = server.somebody().await;
    let (sender, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let start = b"--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nonly this".to_vec();
    sender.send(Ok(start)).await.unwrap();
    let stream = futures_util::stream::unfold(body, |mut body| async move { Some((body.recv().await?, body)) });
    let request = http().post(server.url("/api/v1/media/upload")).bearer_auth(&alice.access).header("content-type", "multipart/form-data; boundary=x");
    let answer = Answer::of(request.body(reqwest::Body::wrap_stream(stream))).await;
    answer.refused(400, "BAD_REQUEST");
    drop(sender);
    assert_nothing_lies_in(&server, "staging").await;
}

#[tokio::test]
async fn uploads_are_limited_in_rate_and_number() {
    let server = TestServer::with(|config| {
        config.limits.enabled = true;
        config.limits.upload = "2/1m".parse().unwrap();
    })
    .await;
    let alice = server.somebody().await;
    for _ in 0..2 {
        upload(&alice, "document", "a.pdf", PDF.to_vec()).await;
    }
    try_upload(&alice, "document", "a.pdf", PDF.to_vec()).await.refused(429, "RATE_LIMITED");

    let server = TestServer::with(|config| config.limits.uploads_at_once = 1).await;
    let alice = server.somebody().await;
    let (sender, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    sender.send(Ok(b"--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nonly this".to_vec())).await.unwrap();
    let stream = futures_util::stream::unfold(body, |mut body| async move { Some((body.recv().await?, body)) });
    let request = http().post(server.url("/api/v1/media/upload")).bearer_auth(&alice.access).header("content-type", "multipart/form-data; boundary=x");
    let slow = tokio::spawn(Answer::of(request.body(reqwest::Body::wrap_stream(stream))));
    eventually("a staged file", || async { (!files(&server, "staging").is_empty()).then_some(()) }).await;
    try_upload(&alice, "document", "a.pdf", PDF.to_vec()).await.refused(503, "UNAVAILABLE");
    drop(sender);
    soon("the end of the slow one", slow).await.unwrap().refused(400, "BAD_REQUEST");
    eventually("a free place", || async { (try_upload(&alice, "document", "a.pdf", PDF.to_vec()).await.status == 201).then_some(()) }).await;
}

#[tokio::test]
async fn a_signed_address_gives_parts_and_only_what_it_names() {
    let (server, clock) = TestServer::with_clock(|_| {}).await;
    let alice = server.somebody().await;
    let bytes = png(64, 64, 4);
    let media = upload(&alice, "image", "a.png", bytes.clone()).await;
    let url = &media["url"];
    let (status, headers, body) = fetch(url, &[]).await;
    assert_eq!((status, body.len()), (200, bytes.len()));
    let tag = headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(headers["accept-ranges"], "bytes");
    for (range, part) in [("bytes=0-9", 0..10), ("bytes=10-", 10..bytes.len()), ("bytes=-5", bytes.len() - 5..bytes.len()), ("bytes=7-999999", 7..bytes.len())]
    {
        let (status, headers, body) = fetch(url, &[("range", range)]).await;
        assert_eq!((status, body.as_slice()), (206, &bytes[part.clone()]), "{range}");
        assert_eq!(headers["content-range"], format!("bytes {}-{}/{}", part.start, part.end - 1, bytes.len()));
    }
    let (status, headers, _) = fetch(url, &[("range", "bytes=999999-")]).await;
    assert_eq!((status, &headers["content-range"]), (416, &format!("bytes */{}", bytes.len()).parse().unwrap()));
    assert_eq!(fetch(url, &[("range", "bytes=0-9"), ("if-range", &tag)]).await.0, 206);
    assert_eq!(fetch(url, &[("range", "bytes=0-9"), ("if-range", "\"another\"")]).await.0, 200);
    assert_eq!(fetch(url, &[("if-none-match", &tag)]).await.0, 304);
    let head = http().head(url.as_str().unwrap()).send().await.unwrap();
    assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &bytes.len().to_string().parse().unwrap()));

    let text = url.as_str().unwrap();
    let thumbnail = media["thumbnail_url"].as_str().unwrap();
    let (file, signature) = text.split_once('?').unwrap();
    let other = upload(&alice, "image", "b.png", png(64, 64, 5)).await;
    for wrong in [
        file.to_owned(),
        format!("{file}?exp=99999999999&{}", signature.split_once('&').unwrap().1),
        format!("{}?{signature}", thumbnail.split_once('?').unwrap().0),
        format!("{}?{signature}", other["url"].as_str().unwrap().split_once('?').unwrap().0),
        format!("{text}&name=YS5odG1s"),
        format!("{}{}", &text[..text.len() - 1], if text.ends_with('A') { 'E' } else { 'A' }),
        server.url(&format!("/media/files/../secrets.toml?{signature}")),
        server.url(&format!("/media/files/originals/..%2f..%2f..%2fsecrets.toml?{signature}")),
        server.url(&format!("/media/files/?{signature}")),
    ] {
        let answer = Answer::of(http().get(&wrong)).await;
        assert!(answer.status == 403 || answer.status == 404, "{wrong}: {} {}", answer.status, answer.text);
    }
    clock.advance(Duration::from_secs(3601));
    Answer::of(http().get(text)).await.refused(403, "FORBIDDEN");
    // Fresh ones are given out, long before those at hand expire.
    let alice = server.login(&alice.phone).await;
    let fresh = alice.get(&format!("/media/{}", media["media_id"].as_str().unwrap())).await.ok(200);
    assert_eq!(fetch(&fresh["url"], &[]).await.0, 200);
    assert!(!log().contains("sig="), "a signed address was logged");
}

#[tokio::test]
async fn addresses_in_messages_are_always_good_for_a_while() {
    let (server, clock) = TestServer::with_clock(|config| config.auth.access_ttl = Duration::from_secs(86_000)).await;
    let (alice, bob, chat) = server.couple().await;
    let media = upload(&alice, "image", "a.png", png(10, 10, 6)).await;
    send(&alice, &chat, "image", &media).await;
    for _ in 0..30 {
        clock.advance(Duration::from_secs(7 * 60));
        let page = bob.get(&format!("/chats/{chat}/messages")).await.ok(200);
        assert_eq!(fetch(&page["messages"][0]["payload"]["media_url"], &[]).await.0, 200);
        // Whoever opens it some minutes later still gets it.
        clock.advance(Duration::from_secs(4 * 60));
        assert_eq!(fetch(&page["messages"][0]["payload"]["thumbnail_url"], &[]).await.0, 200);
    }
}

async fn set_avatar(person: &Person, path: &str, part: &'static str, bytes: Vec<u8>) -> String {
    let answer = send_form(person, Method::PUT, path, form(part, bytes, "me.png")).await.ok(200);
    answer["avatar_url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_picture_of_a_user_is_shown_to_those_who_may_see_it() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let first = set_avatar(&alice, "/users/me/avatar", "avatar", png(900, 300, 7)).await;
    assert!(first.starts_with(&server.url("/")), "{first}");
    // No token: as a page asks for it.
    let (status, headers, body) = fetch(&json!(first), &[]).await;
    assert_eq!((status, &headers["content-type"], &body[..3]), (200, &"image/jpeg".parse().unwrap(), &[0xff, 0xd8, 0xff][..]));
    assert_eq!(alice.get("/users/me").await.ok(200)["avatar_url"], first);
    assert_eq!(bob.get(&format!("/users/{}", alice.id)).await.ok(200)["avatar_url"], first);
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["avatar_url"], first);
    let id = first.rsplit('/').next().unwrap().to_owned();
    assert_eq!(bob.get(&format!("/media/{id}")).await.status, 200);

    alice.put("/users/me/privacy", json!({ "profile_photo": "nobody" })).await.ok(200);
    assert_eq!(bob.get(&format!("/users/{}", alice.id)).await.ok(200)["avatar_url"], Value::Null);
    bob.get(&format!("/media/{id}")).await.refused(404, "NOT_FOUND");
    assert_eq!(alice.get(&format!("/media/{id}")).await.status, 200);
    alice.put("/users/me/privacy", json!({ "profile_photo": "everyone" })).await.ok(200);

    // Another takes its place, and its address leads nowhere any more, nor is anything left of it.
    let second = set_avatar(&alice, "/users/me/avatar", "file", png(30, 30, 8)).await;
    assert_ne!(first, second);
    Answer::of(http().get(&first)).await.refused(404, "NOT_FOUND");
    assert_eq!(files(&server, "media").len(), 1);
    // What is read can be written: nothing changes.
    alice.patch("/users/me", json!({ "avatar_url": second, "status_text": "x" })).await.ok(200);
    assert_eq!(fetch(&json!(second), &[]).await.0, 200);
    // It is nobody else's to show.
    bob.patch("/users/me", json!({ "avatar_url": second })).await.refused(422, "VALIDATION_ERROR");
    alice.patch("/users/me", json!({ "avatar_url": "" })).await.ok(200);
    Answer::of(http().get(&second)).await.refused(404, "NOT_FOUND");
    bob.patch("/users/me", json!({ "avatar_url": "https://pictures.example/b.png" })).await.ok(200);
    assert_eq!(bob.get("/users/me").await.ok(200)["avatar_url"], "https://pictures.example/b.png");

    let third = set_avatar(&alice, "/users/me/avatar", "avatar", png(30, 30, 9)).await;
    alice.call(Method::DELETE, "/users/me", Some(json!({ "confirm": alice.phone }))).await.ok(204);
    Answer::of(http().get(&third)).await.refused(404, "NOT_FOUND");
    // A file that was sent is no picture of anybody's.
    let media = upload(&bob, "image", "a.png", png(10, 10, 1)).await;
    Answer::of(http().get(server.url(&format!("/api/v1/media/avatars/{}", media["media_id"].as_str().unwrap())))).await.refused(404, "NOT_FOUND");
    Answer::of(http().get(server.url("/api/v1/media/avatars/x"))).await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn admins_set_the_picture_of_a_group() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let carol = server.somebody().await;
    let group = group(&alice, &[&bob]).await;
    let mut socket = bob.connect().await;
    let path = format!("/chats/{group}/avatar");
    let url = set_avatar(&alice, &path, "avatar", png(50, 50, 10)).await;
    let updated = socket.expect("chat.updated").await;
    assert_eq!((&updated["changes"]["avatar_url"], &updated["avatar_url"]), (&json!(url), &json!(url)));
    assert_eq!(bob.get(&format!("/chats/{group}")).await.ok(200)["avatar_url"], url);
    assert_eq!(fetch(&json!(url), &[]).await.0, 200);
    let id = url.rsplit('/').next().unwrap();
    assert_eq!(bob.get(&format!("/media/{id}")).await.status, 200);
    carol.get(&format!("/media/{id}")).await.refused(404, "NOT_FOUND");
    let put = |person: Person, path: String| async move { send_form(&person, Method::PUT, &path, form("avatar", png(5, 5, 1), "a.png")).await };
    put(bob.clone(), path.clone()).await.refused(403, "NOT_ADMIN");
    put(carol, path.clone()).await.refused(404, "CHAT_NOT_FOUND");
    put(alice.clone(), format!("/chats/{chat}/avatar")).await.refused(422, "VALIDATION_ERROR");
    put(alice.clone(), "/chats/x/avatar".to_owned()).await.refused(400, "BAD_REQUEST");
    assert_eq!(fetch(&json!(url), &[]).await.0, 200);
    alice.patch(&format!("/chats/{group}"), json!({ "avatar_url": "" })).await.ok(200);
    Answer::of(http().get(&url)).await.refused(404, "NOT_FOUND");
    assert_nothing_lies_in(&server, "media").await;
}

#[tokio::test]
async fn without_the_object_store_texts_go_on() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let media = upload(&alice, "image", "a.png", png(10, 10, 11)).await;
    send(&alice, &chat, "image", &media).await;
    // The disk is gone: a file lies where the folder was.
    let folder = server.data.path().join("media");
    std::fs::rename(&folder, server.data.path().join("away")).unwrap();
    std::fs::write(&folder, b"").unwrap();
    try_upload(&alice, "image", "b.png", png(10, 10, 12)).await.refused(503, "UNAVAILABLE");
    Answer::of(http().get(media["url"].as_str().unwrap())).await.refused(503, "UNAVAILABLE");
    let ready = Answer::of(http().get(server.url("/ready"))).await;
    assert_eq!((ready.status, &ready.body["status"]["media"], &ready.body["status"]["database"]), (503, &json!("unavailable"), &json!("ok")));
    let mut socket = bob.connect().await;
    socket.expect("message.new").await;
    alice.say(&chat, "still here").await;
    assert_eq!(socket.expect("message.new").await["payload"]["body"], "still here");
    assert_eq!(alice.get(&format!("/chats/{chat}/messages")).await.ok(200)["messages"][1]["payload"]["media_id"], media["media_id"]);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(server.data.path().join("away"), &folder).unwrap();
    assert_eq!(fetch(&media["url"], &[]).await.0, 200);
    upload(&alice, "image", "b.png", png(10, 10, 12)).await;
    assert_eq!(Answer::of(http().get(server.url("/ready"))).await.status, 200);
    let metrics = Answer::of(http().get(server.url("/metrics"))).await.text;
    assert!(metrics.contains("media_uploads_total 2\n"), "{metrics}");
}

#[tokio::test]
async fn files_outlive_a_restart_and_so_do_their_addresses() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let bytes = png(20, 20, 13);
    let media = upload(&alice, "image", "a.png", bytes.clone()).await;
    let avatar = set_avatar(&alice, "/users/me/avatar", "avatar", png(20, 20, 14)).await;
    let server = server.restart().await;
    let (status, _, body) = fetch(&media["url"], &[]).await;
    assert_eq!((status, body == bytes), (200, true));
    assert_eq!(fetch(&json!(avatar), &[]).await.0, 200);
    drop(server);
}
