//! Files in a bucket: what goes on while the object store is down, slow or full, tried with one that can be made so; and the
//! whole way of a file, tried with a real S3 server where there is one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use reqwest::Method;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, RANGE};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::media::{png, try_upload};
use crate::support::{TestServer, eventually, http, soon};

const WORKS: u8 = 0;
const SLOW: u8 = 1;
const FULL: u8 = 2;
const DOWN: u8 = 3;

/// As much of an S3 server as an upload needs, which can be made to fail.
struct FaultyStore {
    mode: Arc<AtomicU8>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

async fn answer(State(mode): State<Arc<AtomicU8>>, request: Request) -> Response {
    let method = request.method().clone();
    match mode.load(Ordering::SeqCst) {
        SLOW => std::future::pending().await,
        DOWN => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        FULL if method == Method::PUT => (StatusCode::INSUFFICIENT_STORAGE, "<Error><Code>InsufficientStorage</Code></Error>").into_response(),
        _ => {
            axum::body::to_bytes(request.into_body(), 64 << 20).await.expect("a body");
            if method == Method::DELETE { StatusCode::NO_CONTENT } else { StatusCode::OK }.into_response()
        }
    }
}

impl FaultyStore {
    async fn start(address: SocketAddr, mode: Arc<AtomicU8>) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&mode));
        let accepting = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { mode, address, accepting }
    }

    fn url(&self) -> String {
        format!("s3://key:secret@whatsapp-media?endpoint=http://{}&region=us-east-1", self.address)
    }
}

/// Brings the object store into this state while people write, and checks that they do not notice.
async fn messages_go_on_while_it_is(trouble: u8) {
    let store = FaultyStore::start(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::new(AtomicU8::new(WORKS))).await;
    let server = TestServer::with(|config| config.storage.media = Some(store.url())).await;
    let (alice, bob, chat) = server.couple().await;
    let media = try_upload(&alice, "image", "a.png", png(64, 48, 1)).await.ok(201);
    let mut socket = bob.connect().await;

    store.mode.store(trouble, Ordering::SeqCst);
    if trouble == DOWN {
        store.accepting.abort();
    }
    let upload = {
        let alice = alice.clone();
        tokio::spawn(async move { try_upload(&alice, "image", "b.png", png(64, 48, 2)).await })
    };
    alice.say(&chat, "while it is in trouble").await;
    let body = json!({ "client_msg_id": "with-a-picture", "type": "image", "payload": { "media_id": media["media_id"] } });
    alice.post(&format!("/chats/{chat}/messages"), body).await.ok(201);
    socket.expect("message.new").await;
    let shown = socket.expect("message.new").await;
    assert!(shown["payload"]["media_url"].as_str().is_some_and(|url| url.contains("X-Amz-Signature")), "{shown}");
    bob.get(&format!("/media/{}", media["media_id"].as_str().expect("an id"))).await.ok(200);
    soon("an answer to the upload", upload).await.expect("the upload ends").refused(503, "UNAVAILABLE");
    let ready = http().get(server.url("/ready")).send().await.expect("an answer");
    if trouble != FULL {
        assert_eq!(ready.status(), 503);
        let state: Value = ready.json().await.expect("JSON");
        assert!(state["status"]["media"] != "ok" && state["status"]["database"] == "ok", "{state}");
    }

    // Once it is well again, so are uploads.
    let mode = Arc::clone(&store.mode);
    mode.store(WORKS, Ordering::SeqCst);
    if trouble == DOWN {
        FaultyStore::start(store.address, mode).await;
    }
    eventually("an upload", || async { (try_upload(&alice, "image", "c.png", png(64, 48, 3)).await.status == 201).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_on_while_the_object_store_is_down() {
    messages_go_on_while_it_is(DOWN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_on_while_the_object_store_is_slow() {
    messages_go_on_while_it_is(SLOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_on_while_the_object_store_is_full() {
    messages_go_on_while_it_is(FULL).await;
}

/// A server whose files lie in a fresh bucket of a real S3 server, reached by people under another name.
async fn on_a_real_server() -> TestServer {
    let s3 = std::env::var("WA_TEST_S3").expect("WA_TEST_S3 names an S3 server: run `make services-up` and do what it says");
    let bucket = format!("whatsapp-media-{}", uuid::Uuid::now_v7().simple());
    let endpoint = s3.split("endpoint=").nth(1).and_then(|rest| rest.split('&').next()).expect("an endpoint");
    let public = endpoint.replace("127.0.0.1", "localhost");
    let url = format!("{}&public_endpoint={public}", s3.replace("whatsapp-media", &bucket));
    TestServer::with(|config| config.storage.media = Some(url)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server"]
async fn a_file_goes_all_its_way_over_real_s3() {
    let server = on_a_real_server().await;
    let (alice, bob, chat) = server.couple().await;
    let picture = png(400, 300, 9);
    let media = try_upload(&alice, "image", "a.png", picture.clone()).await.ok(201);
    let body = json!({ "client_msg_id": "1", "type": "image", "payload": { "media_id": media["media_id"] } });
    alice.post(&format!("/chats/{chat}/messages"), body).await.ok(201);
    let messages = bob.get(&format!("/chats/{chat}/messages")).await.ok(200);
    let payload = &messages["messages"][0]["payload"];
    let url = payload["media_url"].as_str().expect("an address").to_owned();
    assert!(url.starts_with("http://localhost:"), "the public endpoint: {url}");

    let whole = http().get(&url).send().await.expect("an answer");
    assert_eq!((whole.status().as_u16(), &whole.headers()[CONTENT_TYPE]), (200, &"image/png".parse().expect("a value")));
    assert!(whole.headers()[CONTENT_DISPOSITION].to_str().expect("text").starts_with("inline"));
    assert_eq!(whole.bytes().await.expect("bytes"), picture);
    let part = http().get(&url).header(RANGE, "bytes=8-15").send().await.expect("an answer");
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.expect("bytes"), picture[8..16]);
    let thumbnail = http().get(payload["thumbnail_url"].as_str().expect("an address")).send().await.expect("an answer");
    assert_eq!(&thumbnail.headers()[CONTENT_TYPE], "image/jpeg");
    assert!(thumbnail.bytes().await.expect("bytes").starts_with(&[0xFF, 0xD8, 0xFF]));

    // Any change is refused, and so is coming without a signature.
    let signature = url.find("X-Amz-Signature=").expect("a signature") + "X-Amz-Signature=".len();
    let other = if url.as_bytes()[signature] == b'0' { "1" } else { "0" };
    let altered = [
        format!("{}{other}{}", &url[..signature], &url[signature + 1..]),
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000"),
        url.replace("image%2Fpng", "text%2Fhtml"),
        url.replace("/originals/", "/thumbnails/").replace(".png", ".jpg"),
        url.split('?').next().expect("a path").to_owned(),
    ];
    for altered in altered {
        assert_ne!(altered, url);
        assert_eq!(http().get(&altered).send().await.expect("an answer").status(), 403, "{altered}");
    }

    let led = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let path = format!("/api/v1/media/{}/download", media["media_id"].as_str().expect("an id"));
    let answer = led.get(server.url(&path)).bearer_auth(&bob.access).send().await.expect("an answer");
    assert_eq!(answer.status(), 302);
    assert!(answer.headers()[LOCATION].to_str().expect("text").starts_with("http://localhost:"));

    let notes = try_upload(&alice, "document", "../notes \u{fc}ber.txt", b"a text".to_vec()).await.ok(201);
    let saved = http().get(notes["url"].as_str().expect("an address")).send().await.expect("an answer");
    let disposition = saved.headers()[CONTENT_DISPOSITION].to_str().expect("text").to_owned();
    assert!(disposition.starts_with("attachment") && disposition.contains("notes%20%C3%BCber.txt") && !disposition.contains(".."), "{disposition}");
}
