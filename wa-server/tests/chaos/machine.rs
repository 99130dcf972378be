//! A machine for the real server to run on, whose disk can be watched and made to fail: the shim (shim.c) stands between
//! the server and its files.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

/// When something that is awaited counts as not coming.
const PATIENCE: Duration = Duration::from_secs(120);

/// Within which everything must be answered, whatever the disk does.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Operations that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Syncs fail, and what they were to store may never be.
    Sync,
    /// Reads fail.
    Read,
    /// Files cannot be written any more.
    ReadOnly,
    /// There is no space left.
    NoSpace,
}

impl Fault {
    const fn file(self) -> &'static str {
        match self {
            Self::Sync => "eio-sync",
            Self::Read => "eio-read",
            Self::ReadOnly => "erofs-write",
            Self::NoSpace => "enospc-write",
        }
    }
}

/// A server with its disk.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    root: PathBuf,
    address: SocketAddr,
    records: bool,
    planted: Option<&'static str>,
    shim: PathBuf,
    server: Option<Child>,
}

impl Machine {
    /// With a disk that is only simulated, whose every write is recorded.
    pub(crate) fn recording(planted: Option<&'static str>) -> Self {
        Self::new(true, planted)
    }

    /// With a disk that can be made to fail.
    pub(crate) fn failing() -> Self {
        Self::new(false, None)
    }

    fn new(records: bool, planted: Option<&'static str>) -> Self {
        // Images are many and large; memory is quicker than a disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let (root, shim) = (folder.path().join("root"), folder.path().join("shim.so"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(folder.path().join("control")).unwrap();
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/shim.c")).output();
        let compiled = compiled.expect("a C compiler named cc is needed to build the shim, as for SQLite itself");
        assert!(compiled.status.success(), "the shim cannot be built: {}", String::from_utf8_lossy(&compiled.stderr));
        let config = "[limits]\nenabled = false\n[auth]\naccess_ttl = \"24h\"\n[dev]\necho_otp = true\n[telemetry]\nlog_level = \"warn\"\n";
        std::fs::write(folder.path().join("wa.toml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
        Self { folder, root, address, records, planted, shim, server: None }
    }

    /// Where the server keeps its data.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What the shim has written down.
    pub(crate) fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    /// How much that is by now.
    pub(crate) fn position(&self) -> u64 {
        std::fs::metadata(self.record()).map_or(0, |file| file.len())
    }

    /// Makes operations fail from now on, or no more.
    pub(crate) fn set(&self, fault: Fault, on: bool) {
        let path = self.folder.path().join("control").join(fault.file());
        if on { std::fs::write(path, "").unwrap() } else { std::fs::remove_file(path).unwrap() }
    }

    /// Starts the server, and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.path().join("server.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wa-server"));
        command.arg("--config").arg(self.folder.path().join("wa.toml")).arg("--data-dir").arg(self.root.join("data"));
        command.arg("--bind").arg(self.address.to_string()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env_remove("WA_FAILPOINT").env_remove("WA_PLANTED");
        command.env("LD_PRELOAD", &self.shim).env("WA_SHIM_ROOT", &self.root).env("WA_SHIM_CONTROL", self.folder.path().join("control"));
        if self.records {
            command.env("WA_SHIM_LOG", self.record()).env("WA_SHIM_SYNC_US", "500");
        }
        // A check that is itself run with a defect hands it on.
        if let Some(planted) = self.planted.map(ToOwned::to_owned).or_else(|| std::env::var("WA_PLANTED").ok()) {
            command.env("WA_PLANTED", planted);
        }
        self.server = Some(command.spawn().unwrap());
        let ready = async {
            while http().get(format!("http://{}/health", self.address)).send().await.is_err() {
                if let Ok(Some(status)) = self.server.as_mut().unwrap().try_wait() {
                    panic!("the server ended ({status}): {}", self.server_log());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, ready).await.is_err() {
            panic!("the server does not start: {}", self.server_log());
        }
    }

    fn server_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Kills the server with SIGKILL under load, between two changes of its files: one that a kill cuts off would be in the
    /// recording and not, or not wholly, in the file. What is cut off halfway is what images are made for.
    pub(crate) async fn kill_between_changes(&mut self) {
        let order = self.folder.path().join("control").join("die");
        std::fs::write(&order, "").unwrap();
        let mut server = self.server.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || server.wait());
        tokio::time::timeout(PATIENCE, ended).await.expect("a server under load changes its files").unwrap().unwrap();
        std::fs::remove_file(order).unwrap();
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Ends the server as an operator does.
    pub(crate) async fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
        tokio::task::spawn_blocking(move || server.wait()).await.unwrap().unwrap();
    }

    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    /// Asks a route; `None` if the server went away.
    pub(crate) async fn ask(&self, token: Option<&str>, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        ask(self.address, token, path, body).await
    }

    /// Asks a route that must answer with success.
    pub(crate) async fn get(&self, token: Option<&str>, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(token, path, body).await.expect("an answer");
        assert!(matches!(status, 200 | 201), "{path} answered {status}: {answer}");
        answer["data"].clone()
    }

    /// Logs somebody in.
    pub(crate) async fn login(&self, number: usize) -> Person {
        let phone = format!("+1555300{number:04}");
        let code = self.get(None, "/api/v1/auth/request-otp", Some(&json!({ "phone": phone }))).await;
        let login = self.get(None, "/api/v1/auth/verify-otp", Some(&json!({ "phone": phone, "otp": code["otp"], "device_name": "Test" }))).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Person { address: self.address, id: text(&login["user"]["id"]), token: text(&login["access_token"]) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.server_log());
        }
    }
}

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    address: SocketAddr,
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Person {
    /// The direct chat with somebody.
    pub(crate) async fn chat_with(&self, other: &Self) -> String {
        let asked = ask(self.address, Some(&self.token), "/api/v1/chats", Some(&json!({ "type": "direct", "participant_id": other.id }))).await;
        asked.expect("an answer").1["data"]["chat_id"].as_str().unwrap().to_owned()
    }

    /// Sends a text; the place and id if it was acknowledged, else the status.
    pub(crate) async fn say(&self, chat: &str, text: &str) -> Option<Result<(i64, String), u16>> {
        let body = json!({ "client_msg_id": uuid::Uuid::new_v4().to_string(), "type": "text", "payload": { "body": text } });
        let (status, answer) = ask(self.address, Some(&self.token), &format!("/api/v1/chats/{chat}/messages"), Some(&body)).await?;
        if !matches!(status, 200 | 201) {
            return Some(Err(status));
        }
        Some(Ok((answer["data"]["seq"].as_i64().unwrap(), answer["data"]["message_id"].as_str().unwrap().to_owned())))
    }
}

async fn ask(address: SocketAddr, token: Option<&str>, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    let url = format!("http://{address}{path}");
    let mut request = body.map_or_else(|| http().get(&url), |body| http().post(&url).json(body));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.ok()?;
    Some((response.status().as_u16(), response.json().await.ok()?))
}

fn http() -> &'static reqwest::Client {
    static PREPARED: Once = Once::new();
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    PREPARED.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    // No connection is kept: the server at its other end may be killed at any time.
    CLIENT.get_or_init(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap())
}
