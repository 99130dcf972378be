//! A push provider on a port of this machine: it takes what FCM, Google's token service and the push services of browsers
//! take, remembers it, and answers as the test says.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use wa_server::Config;

use crate::support::soon;

/// What it does with a push.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    /// This status, with these further header lines and this body.
    Status(u16, &'static str, Value),
    /// What is no HTTP.
    Garbage,
    /// Nothing, for ever.
    Nothing,
    /// That it took it, once it is told to.
    Later(Arc<Notify>),
    /// Ends the connection.
    HangUp,
}

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The data of a push to a phone.
    pub(crate) fn data(&self) -> Value {
        self.json()["message"]["data"].clone()
    }

    /// Token, title and text of a push to a phone.
    pub(crate) fn line(&self) -> String {
        let message = &self.json()["message"];
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        format!("{}: {}: {}", text(&message["token"]), text(&message["data"]["title"]), text(&message["data"]["body"]))
    }
}

#[derive(Default)]
struct State {
    pushes: Mutex<Vec<Received>>,
    grants: Mutex<Vec<Received>>,
    script: Mutex<VecDeque<Say>>,
    grant_script: Mutex<VecDeque<Say>>,
    came: Notify,
}

/// It runs until it is dropped.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Provider {
    pub(crate) async fn start() -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let accepting = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&state)));
                }
            }
        });
        Self { address, state, accepting }
    }

    /// A service account for it.
    pub(crate) fn account(&self) -> String {
        include_str!("../../data/service-account.json").replace("http://127.0.0.1:1", &format!("http://{}", self.address))
    }

    /// Lets a server push by it.
    pub(crate) fn configure(&self, config: &mut Config) {
        let path = config.server.data_dir.join("service-account.json");
        std::fs::write(&path, self.account()).expect("written");
        config.push.fcm_credentials = Some(path);
        config.push.fcm_endpoint = format!("http://{}", self.address).parse().expect("a URL");
        config.push.vapid_subject = Some("mailto:admin@example.org".to_owned());
    }

    /// Answers the next pushes so; afterwards it takes them.
    pub(crate) fn say(&self, script: impl IntoIterator<Item = Say>) {
        self.state.script.lock().expect("is whole").extend(script);
    }

    /// Answers the next requests for an access token so.
    pub(crate) fn say_to_grants(&self, script: impl IntoIterator<Item = Say>) {
        self.state.grant_script.lock().expect("is whole").extend(script);
    }

    /// Everything pushed, once it is so many.
    pub(crate) async fn pushes(&self, count: usize) -> Vec<Received> {
        soon(&format!("push number {count}"), async {
            loop {
                let came = self.state.came.notified();
                let pushes = self.state.pushes.lock().expect("is whole").clone();
                if pushes.len() >= count {
                    return pushes;
                }
                came.await;
            }
        })
        .await
    }

    /// [`Received::line`] of everything pushed, once it is so many.
    pub(crate) async fn lines(&self, count: usize) -> Vec<String> {
        self.pushes(count).await.iter().map(Received::line).collect()
    }

    /// Every request for an access token.
    pub(crate) fn grants(&self) -> Vec<Received> {
        self.state.grants.lock().expect("is whole").clone()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    while let Some(request) = read(&mut stream).await {
        let is_grant = request.path == "/token";
        let (list, script) = if is_grant { (&state.grants, &state.grant_script) } else { (&state.pushes, &state.script) };
        let number = {
            let mut list = list.lock().expect("is whole");
            list.push(request);
            list.len()
        };
        let say = script.lock().expect("is whole").pop_front();
        state.came.notify_waiters();
        let granted = json!({ "access_token": format!("access-{number}"), "expires_in": 3600, "token_type": "Bearer" });
        let (status, headers, body) = match say {
            None if is_grant => (200, "", granted),
            None => taken(number),
            Some(Say::Later(when)) => {
                when.notified().await;
                taken(number)
            }
            Some(Say::Status(status, headers, body)) => (status, headers, body),
            Some(Say::Garbage) => {
                let _ = stream.write_all(b"\x00\xff this is no HTTP \r\n\r\n").await;
                return;
            }
            Some(Say::Nothing) => return std::future::pending().await,
            Some(Say::HangUp) => return,
        };
        let body = body.to_string();
        let answer = format!("HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn taken(number: usize) -> (u16, &'static str, Value) {
    (200, "", json!({ "name": format!("projects/wa-test/messages/{number}") }))
}

/// The next request; `None` once the connection has ended.
async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await.ok()? {
            0 => return None,
            length => bytes.extend_from_slice(&piece[..length]),
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a head is text");
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await.ok()? {
            0 => return None,
            length => body.extend_from_slice(&piece[..length]),
        }
    }
    Some(Received { path, headers, body })
}
