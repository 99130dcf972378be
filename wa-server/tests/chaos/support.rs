//! What the checks share: randomness from a seed, the real server as a process, and a client for its REST routes.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// When something that is awaited counts as not coming.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Randomness that a seed repeats (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something happens that happens once in so many times.
    pub(crate) const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// The seed that was asked for, or a new one.
pub(crate) fn seed() -> u64 {
    number("WA_CAMPAIGN_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Random::new(u64::from(now.subsec_nanos()) ^ now.as_secs()).below(1_000_000_000)
    })
}

/// The folder `target/campaign`: data while a check runs, evidence when it failed, progress of long forms.
pub(crate) fn evidence() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("campaign");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The real server, always on the same port and data, started and killed many times.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) folder: PathBuf,
    planted: Option<&'static str>,
}

/// One run of it.
pub(crate) struct Run {
    child: Child,
    /// Ends when the process has.
    ended: JoinHandle<()>,
}

impl Site {
    /// Below the ports that systems give out on their own, so that the port stays free between two runs.
    pub(crate) fn new(folder: &Path, planted: Option<&'static str>, random: &mut Random) -> Self {
        let address = loop {
            // The process is mixed in so that two campaigns of one seed do not meet.
            let port = 20_000 + (random.below(10_000) + u64::from(std::process::id())) % 10_000;
            let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
            if TcpListener::bind(address).is_ok() {
                break address;
            }
        };
        let config =
            "[limits]\nenabled = false\nconnect_backlog = 80\n[auth]\naccess_ttl = \"24h\"\n[dev]\necho_otp = true\n[telemetry]\nlog_level = \"warn\"\n";
        std::fs::write(folder.join("wa.toml"), config).unwrap();
        Self { address, folder: folder.to_owned(), planted }
    }

    /// Starts the server; `failpoint` is `<name>:<passage>`.
    pub(crate) fn start(&self, failpoint: Option<&str>) -> Run {
        let log: File = OpenOptions::new().create(true).append(true).open(self.folder.join("server.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wa-server"));
        command.arg("--config").arg(self.folder.join("wa.toml")).arg("--data-dir").arg(&self.folder);
        command.arg("--bind").arg(self.address.to_string());
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command.env_remove("WA_FAILPOINT").env_remove("WA_PLANTED");
        if let Some(failpoint) = failpoint {
            command.env("WA_FAILPOINT", failpoint);
        }
        if let Some(planted) = self.planted {
            command.env("WA_PLANTED", planted);
        }
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        // The server writes nothing there, so that the end of the stream is the end of the process.
        let ended = tokio::task::spawn_blocking(move || drop(output.read_to_end(&mut Vec::new())));
        Run { child, ended }
    }

    /// Asks a route below `/api/v1`, without a retry. `None` if no whole answer came.
    pub(crate) async fn ask(&self, token: Option<&str>, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let url = format!("http://{}/api/v1{path}", self.address);
        let mut request = body.map_or_else(|| http().get(&url), |body| http().post(&url).json(body));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let mut answer: Value = response.json().await.ok()?;
        Some((status, answer["data"].take()))
    }

    /// Asks a route that must answer with success; waits for a server that is starting.
    pub(crate) async fn get(&self, token: Option<&str>, path: &str, body: Option<&Value>) -> Value {
        let asking = async {
            loop {
                // Nobody answers yet, or the disk is too slow just now; every use of this may be repeated.
                let answer = self.ask(token, path, body).await;
                if let Some((status, data)) = answer.filter(|(status, _)| *status != 503) {
                    assert!(matches!(status, 200 | 201), "{path} answered {status}: {data}");
                    return data;
                }
                pause(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} was not answered"))
    }

    /// Logs a phone in.
    pub(crate) async fn login(&self, phone: &str) -> Login {
        loop {
            let code = self.get(None, "/auth/request-otp", Some(&json!({ "phone": phone }))).await;
            let login = self.ask(None, "/auth/verify-otp", Some(&json!({ "phone": phone, "otp": code["otp"], "device_name": "Test" }))).await;
            // A code serves once: if the answer was lost, another one is needed.
            if let Some((200, login)) = login {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                return Login { user_id: text(&login["user"]["id"]), token: text(&login["access_token"]) };
            }
        }
    }
}

/// Who somebody is to the server.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user_id: String,
    pub(crate) token: String,
}

impl Run {
    /// Kills it with SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().unwrap();
        (&mut self.ended).await.unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends on its own; if it does not, it is killed. Returns whether it did.
    pub(crate) async fn death(mut self, within: Duration) -> bool {
        if tokio::time::timeout(within, &mut self.ended).await.is_err() {
            self.kill().await;
            return false;
        }
        self.child.wait().unwrap();
        true
    }
}

impl Drop for Run {
    /// A test that fails leaves no server behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets time pass: between attempts, or until a moment chosen at random. Nothing depends on how long it really is.
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) fn http() -> &'static reqwest::Client {
    static PREPARED: Once = Once::new();
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    PREPARED.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    // No connection is kept: the server at its other end may be killed at any time.
    CLIENT.get_or_init(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(20)).build().unwrap())
}

impl Run {
    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}
