//! Real processes of the server, each with a folder, a configuration and ports of its own. Shared by the end-to-end tests and the
//! checks of reliability.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a process may take to serve, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all nodes of an installation share, as text of a `wa.toml`.
pub(crate) const SECRET: &str = "a secret of all nodes of a test, long enough";

/// An address on which nobody listens, below the ports that systems give out by themselves, so that it stays free. None is given
/// out twice.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(u16::try_from(uuid::Uuid::new_v4().as_u128() % 9_000).expect("small")));
    loop {
        let port = 22_600 + next.fetch_add(1, Ordering::SeqCst) % 9_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A server in a process of its own, which may be ended, killed, stopped and started again.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) grpc: SocketAddr,
    folder: tempfile::TempDir,
    running: Option<Child>,
}

impl Process {
    /// Prepares one, with ports for HTTP and gRPC.
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { name: name.to_owned(), address: free_address(), grpc: free_address(), folder, running: None }
    }

    /// Writes its configuration: these roles (all, if there are none), and what is the same for all.
    pub(crate) fn configure(&self, roles: &[&str], shared: &str) {
        let mut text = format!("server.bind = \"{}\"\n", self.address);
        if roles != ["gateway"] {
            writeln!(text, "server.grpc_bind = \"{}\"", self.grpc).expect("written");
        }
        if !roles.is_empty() {
            writeln!(text, "server.roles = {roles:?}").expect("written");
        }
        text.push_str("dev.echo_otp = true\nlimits.enabled = false\ntelemetry.log_format = \"json\"\n");
        let level = std::env::var("WA_TEST_LOG").unwrap_or_else(|_| "info".to_owned());
        writeln!(text, "telemetry.log_level = \"{level}\"").expect("written");
        text.push_str(shared);
        std::fs::write(self.folder.path().join("wa.toml"), text).expect("written");
    }

    /// Starts it.
    pub(crate) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wa-server"));
        command.arg("--config").arg(self.folder.path().join("wa.toml")).arg("--data-dir").arg(self.folder.path().join("data"));
        command.env_remove("WA_FAILPOINT").env_remove("WA_PLANTED").current_dir(self.folder.path());
        let output = log.try_clone().expect("a log");
        self.running = Some(command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().expect("it starts"));
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    /// The lines of its log that hold this.
    pub(crate) fn logged(&self, what: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains(what)).map(ToOwned::to_owned).collect()
    }

    /// Waits until it takes requests.
    pub(crate) async fn ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let is_ready = self.get("/ready").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
            let ended = self.running.as_mut().and_then(|running| running.try_wait().expect("its state"));
            assert!(ended.is_none(), "{} ended: {:?}", self.name, self.logged(""));
            if is_ready {
                return;
            }
            assert!(Instant::now() < until, "{} does not serve: {:?}, {:?}", self.name, self.get("/ready").await, self.logged("WARN"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The whole answer to a request; `None` if there was none.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        let (address, path) = (self.address, path.to_owned());
        let asking = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(6))).ok()?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        });
        asking.await.expect("no panic")
    }

    /// The value of one of its metrics.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        self.get("/metrics").await?.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Sends it a signal, as "TERM", "STOP" or "CONT".
    pub(crate) fn signal(&self, name: &str) {
        signal(self.running.as_ref().expect("it runs"), name);
    }

    /// Kills it, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.running.as_mut().expect("it runs").try_wait().expect("its state") {
                self.running = None;
                return status;
            }
            assert!(Instant::now() < until, "{} does not end: {:?}", self.name, self.logged("WARN"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends a process a signal.
pub(crate) fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.id().to_string()).status().expect("kill runs");
    assert!(sent.success(), "{name} is sent");
}

impl Drop for Process {
    /// A test that fails leaves no process behind, and shows what they had to say.
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}.log", self.name.replace(' ', "-"), self.address.port()));
            let _ = std::fs::copy(self.log(), &kept);
            eprintln!("{}: its log is kept as {}", self.name, kept.display());
            for level in ["ERROR", "WARN"] {
                let lines = self.logged(level);
                for line in &lines[lines.len().saturating_sub(20)..] {
                    eprintln!("{}: {line}", self.name);
                }
            }
        }
    }
}

/// The processes of an installation, and where people reach it.
pub(crate) struct Cluster {
    pub(crate) processes: Vec<Process>,
    /// Where people are who know of several nodes; one, if there is a gateway.
    pub(crate) fronts: Vec<SocketAddr>,
}

/// Which roles run where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// All roles in each of so many processes.
    Nodes(usize),
    /// The same, behind a gateway.
    BehindGateway(usize),
    /// Each role in a process of its own.
    Split,
}

/// All roles.
const ROLES: [&str; 8] = ["gateway", "auth", "user", "chat", "message", "notification", "media", "websocket"];

impl Cluster {
    /// Starts processes over what is told, as text of a `wa.toml`.
    pub(crate) async fn start(layout: Layout, shared: &str) -> Self {
        let plan: Vec<(String, Vec<&str>)> = match layout {
            Layout::Nodes(nodes) => (1..=nodes).map(|number| (format!("node {number}"), Vec::new())).collect(),
            Layout::BehindGateway(nodes) => {
                std::iter::once(("gateway".to_owned(), vec!["gateway"])).chain((1..=nodes).map(|number| (format!("node {number}"), Vec::new()))).collect()
            }
            Layout::Split => ROLES.into_iter().map(|role| (role.to_owned(), vec![role])).collect(),
        };
        let mut processes: Vec<_> = plan.iter().map(|(name, _)| Process::new(name)).collect();
        let mut shared = shared.to_owned();
        for role in ROLES {
            let with: Vec<_> =
                processes.iter().zip(&plan).filter(|(_, (name, roles))| name != "gateway" && (roles.is_empty() || roles.contains(&role))).collect();
            let listed = |address: fn(&Process) -> SocketAddr| with.iter().map(|(process, _)| format!("http://{}", address(process))).collect::<Vec<_>>();
            if matches!(layout, Layout::Nodes(_)) || with.is_empty() {
                continue;
            }
            writeln!(shared, "peers.{role}.http = {:?}", listed(|process| process.address)).expect("written");
            if !matches!(role, "gateway" | "notification" | "websocket") {
                writeln!(shared, "peers.{role}.grpc = {:?}", listed(|process| process.grpc)).expect("written");
            }
        }
        let fronts: Vec<_> = match layout {
            Layout::Nodes(_) => processes.iter().map(|process| process.address).collect(),
            Layout::BehindGateway(_) | Layout::Split => vec![processes[0].address],
        };
        if !shared.contains("server.public_url") {
            writeln!(shared, "server.public_url = \"http://{}\"", fronts[0]).expect("written");
        }
        for (process, (_, roles)) in processes.iter_mut().zip(&plan) {
            process.configure(roles, &shared);
            process.start();
        }
        for process in &mut processes {
            process.ready().await;
        }
        Self { processes, fronts }
    }
}
