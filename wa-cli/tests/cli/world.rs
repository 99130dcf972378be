//! A real server on a free port, and the program as people and scripts run it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wa_core::ports::Env;
use wa_core::time::Timestamp;
use wa_server::{Config, Server, SystemEnv};

/// When something that is awaited counts as not coming.
const PATIENCE: Duration = Duration::from_secs(60);

/// The real time, moved forward by the test.
#[derive(Default)]
struct Clock(AtomicI64);

impl Env for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemEnv.now().as_millis() + self.0.load(Ordering::SeqCst))
    }

    fn fill(&self, bytes: &mut [u8]) {
        SystemEnv.fill(bytes);
    }
}

/// A server and a folder for logins.
pub(crate) struct World {
    runtime: Runtime,
    config: Config,
    clock: Arc<Clock>,
    address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    folder: tempfile::TempDir,
}

impl World {
    /// With a server in development mode.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.server.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.data_dir = folder.path().join("data");
        config.dev.echo_otp = true;
        config.dev.seed_demo = true;
        config.limits.enabled = false;
        change(&mut config);
        let runtime = Runtime::new().expect("a runtime");
        let address = config.server.bind;
        let mut world = Self { runtime, config, clock: Arc::default(), address, running: None, folder };
        world.start();
        world
    }

    fn start(&mut self) {
        let builder = Server::builder(self.config.clone()).env(self.clock.clone());
        let server = self.runtime.block_on(builder.bind()).expect("the server starts");
        self.address = server.local_addr();
        self.config.server.bind = self.address;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = self.runtime.spawn(server.run_until(async {
            let _ = stopped.await;
        }));
        self.running = Some((stop, running));
    }

    pub(crate) fn stop(&mut self) {
        let (stop, running) = self.running.take().expect("a running server");
        let _ = stop.send(());
        self.runtime.block_on(running).expect("no panic");
    }

    /// Starts it again on the same port and data.
    pub(crate) fn start_again(&mut self) {
        self.start();
    }

    pub(crate) fn advance_clock(&self, by: Duration) {
        self.clock.0.fetch_add(i64::try_from(by.as_millis()).expect("small"), Ordering::SeqCst);
    }

    /// Where everything of it lies.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The program with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wa"));
        command.args(arguments).env_remove("WA_PROFILE").env("WA_CONFIG_DIR", self.folder.path().join("config")).env("WA_SERVER", self.url());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran(self.command(arguments).stdin(Stdio::null()).output().expect("the program runs"))
    }

    /// Runs it to its end with this input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut running = self.spawn(arguments);
        running.type_in(input);
        running.end()
    }

    /// Runs it while the test goes on.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for read in stdout.lines() {
                if line.send(read.expect("the output is text")).is_err() {
                    return;
                }
            }
        });
        Running { child, stdin, lines }
    }
}

/// The program at its end.
pub(crate) struct Ran(Output);

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "stdout: {}\nstderr: {}", self.stdout(), self.stderr());
        self
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).expect("text")
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).expect("text")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout()).expect("one JSON document")
    }
}

/// The program as it runs.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("an open input");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("the program reads");
    }

    /// Waits for a line that holds this text.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => {
                    let _ = self.child.kill();
                    panic!("{text:?} did not come ({error}), but {seen:#?}");
                }
            }
        }
    }

    /// Ends its input and waits for its end. What it printed before is not repeated.
    pub(crate) fn end(mut self) -> Ran {
        drop(self.stdin.take());
        let rest: String = self.lines.iter().map(|line| line + "\n").collect();
        let mut output = self.child.wait_with_output().expect("it ends");
        output.stdout = rest.into_bytes();
        Ran(output)
    }
}
