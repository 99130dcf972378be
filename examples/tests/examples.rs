//! Every example is run as its user would run it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use wa_server::{Config, Server};
use wa_transport::client::{Client, ServerEvent};

const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// A running example; it is killed if the test fails.
struct Example {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    fn start(path: &str, settings: &[(&str, &str)]) -> Self {
        let mut process = Command::new(path).envs(settings.iter().copied()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { process, lines }
    }

    async fn line(&mut self) -> String {
        soon("a line", self.lines.next_line()).await.expect("readable").expect("a line before the end")
    }

    /// Ctrl-C, and a graceful end.
    async fn stop(mut self) {
        let id = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill").success());
        assert!(soon("its end", self.process.wait()).await.expect("an end").success());
    }
}

/// A minimal HTTP client: the status and the body.
async fn http(address: &str, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{token}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

fn data(body: &str) -> Value {
    serde_json::from_str::<Value>(body).expect("JSON")["data"].clone()
}

#[tokio::test]
async fn embed_serves_chat_beside_its_own_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("ADDRESS", "127.0.0.1:0"), ("DATA_DIR", directory.path().to_str().expect("text"))];
    let mut example = Example::start(env!("CARGO_BIN_EXE_embed"), &settings);
    let url = example.line().await;
    let address = url.strip_prefix("http://").expect("a URL");
    assert_eq!(http(address, "GET", "/", None, "").await, (200, "My own service, now with chat.".to_owned()));
    assert_eq!(http(address, "GET", "/health", None, "").await.0, 200);
    assert_eq!(http(address, "POST", "/api/v1/auth/request-otp", None, r#"{"phone":"+15550100001"}"#).await.0, 200);
    assert_eq!(http(address, "GET", "/api/v1/users/me", None, "").await.0, 401);
    example.stop().await;
}

#[tokio::test]
async fn own_login_lets_the_hosts_users_chat_with_the_hosts_tokens() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("ADDRESS", "127.0.0.1:0"), ("DATA_DIR", directory.path().to_str().expect("text"))];
    let mut example = Example::start(env!("CARGO_BIN_EXE_own_login"), &settings);
    let url = example.line().await;
    let address = url.strip_prefix("http://").expect("a URL");
    let login = async |name: &str| {
        let (status, body) = http(address, "POST", "/login", None, name).await;
        assert_eq!(status, 200, "{body}");
        let login: Value = serde_json::from_str(&body).expect("JSON");
        (login["user_id"].as_str().expect("an id").to_owned(), login["token"].as_str().expect("a token").to_owned())
    };
    let ((_, ann), (bens_id, _)) = (login("Ann").await, login("Ben").await);
    let (status, body) = http(address, "POST", "/api/v1/chats", Some(&ann), &json!({ "type": "direct", "participant_id": bens_id }).to_string()).await;
    assert_eq!(status, 201, "{body}");
    let path = format!("/api/v1/chats/{}/messages", data(&body)["chat_id"].as_str().expect("an id"));
    let message = json!({ "client_msg_id": "1", "type": "text", "payload": { "body": "three little words" } }).to_string();
    assert_eq!(http(address, "POST", &path, Some(&ann), &message).await.0, 201);
    assert_eq!(example.line().await, "Ann said 3 words");
    assert_eq!(http(address, "GET", "/api/v1/users/me", Some("made up"), "").await.0, 401);
    example.stop().await;
}

#[tokio::test]
async fn bot_answers_whoever_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    config.server.bind.set_port(0);
    config.server.data_dir = directory.path().to_owned();
    config.dev.echo_otp = true;
    let server = Server::builder(config).bind().await.expect("a server");
    let url = format!("http://{}", server.local_addr());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run_until(async {
        let _ = stopped.await;
    }));

    let phone = "+15550100009";
    let mut example = Example::start(env!("CARGO_BIN_EXE_bot"), &[("SERVER", &url), ("PHONE", phone)]);
    assert_eq!(example.line().await, format!("the bot listens at {phone}"));

    let alice = Client::builder(&url).build().expect("a client");
    let code = alice.request_otp("+15550100001").await.expect("a code").otp.expect("told");
    alice.verify_otp("+15550100001", &code, None).await.expect("logged in");
    let bot = alice.sync_contacts(&[phone.to_owned()]).await.expect("synced").first().expect("the bot").user_id;
    let chat = alice.create_direct(bot).await.expect("a chat").chat_id;
    let connection = alice.connect().await.expect("connected");
    connection.send_text(chat, "hello").await.expect("sent");
    let answer = loop {
        if let ServerEvent::Message(message) = soon("the answer", connection.next()).await.expect("connected")
            && message.sender_id == bot
        {
            break message.payload.to_value()["body"].clone();
        }
    };
    assert_eq!(answer, "You said: hello");
    connection.close().await;
    example.stop().await;
    drop(stop);
    soon("the server's end", running).await.expect("no panic");
}

/// A picture of one pixel.
const PIXEL: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0,
    0, 0x0d, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0, 0x1f, 0, 5, 0, 1, 0xff, 0x89, 0x99, 0x3d, 0x1d, 0, 0, 0, 0, b'I', b'E', b'N',
    b'D', 0xae, 0x42, 0x60, 0x82,
];

#[tokio::test]
async fn picture_sends_a_file_and_fetches_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    config.server.bind.set_port(0);
    config.server.data_dir = directory.path().join("data");
    config.dev.echo_otp = true;
    let server = Server::builder(config).bind().await.expect("a server");
    let url = format!("http://{}", server.local_addr());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run_until(async {
        let _ = stopped.await;
    }));
    let bob = Client::builder(&url).build().expect("a client");
    let code = bob.request_otp("+15550100002").await.expect("a code").otp.expect("told");
    bob.verify_otp("+15550100002", &code, None).await.expect("logged in");

    let file = directory.path().join("photo.png");
    std::fs::write(&file, PIXEL).expect("written");
    let mut example = Example::start(env!("CARGO_BIN_EXE_picture"), &[("SERVER", &url), ("FILE", file.to_str().expect("text"))]);
    assert_eq!(example.line().await, "1 x 1 pixels, image/png");
    assert!(example.line().await.starts_with(&format!("{} bytes came back", PIXEL.len())));
    assert!(soon("its end", example.process.wait()).await.expect("an end").success());
    assert!(std::fs::read(file.with_extension("copy")).expect("read") == PIXEL);
    drop(stop);
    soon("the server's end", running).await.expect("no panic");
}

#[tokio::test]
async fn team_shows_each_member_what_is_theirs_to_see() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_team")).env("DATA_DIR", directory.path()).output().await.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = "Ann sees:\n  Ann created the group \"Kitchen\"\n  The oven is hot\n  Ann added Cem\n  Ann removed Ben\n  Who has the salt?\n\
                    Cem sees:\n  Ann added Cem\n  Ann removed Ben\n  Who has the salt?\n\
                    Ben: NOT_CHAT_MEMBER\n";
    assert_eq!(String::from_utf8(output.stdout).expect("text"), expected);
}

#[tokio::test]
async fn core_alone_tells_what_the_rules_say() {
    let output = Command::new(env!("CARGO_BIN_EXE_core_alone")).output().await.expect("it runs");
    assert!(output.status.success());
    let expected = "sent at 1, and the repeat is the same message: true\n\
                    refused with CONFLICT []\n\
                    refused with VALIDATION_ERROR [\"payload.body\"]\n\
                    refused with VALIDATION_ERROR [\"payload.body\"]\n\
                    2 messages; the list shows \"Are you there?\"\n\
                    Bob's phone got the second: first Sent, second Delivered\n\
                    Bob's tablet read both:     first Read, second Read\n\
                    a contact sees whether Alice is online: true\n\
                    a stranger sees whether Alice is online: false\n\
                    somebody unknown sees whether Alice is online: false\n";
    assert_eq!(String::from_utf8(output.stdout).expect("text"), expected);
}
