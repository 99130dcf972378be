//! A Redis of a test's own, which it may kill, stop and start again. Shared by the end-to-end tests and the checks of reliability.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server on a port and with a folder of its own, which keeps what it has over a restart.
pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let folder = tempfile::tempdir().expect("a folder");
        let redis = Self { process: Self::run(port, &folder), port, folder };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return redis;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Redis does not come up");
    }

    fn run(port: u16, folder: &tempfile::TempDir) -> Child {
        let program = std::env::var("WA_TEST_REDIS_SERVER").expect("WA_TEST_REDIS_SERVER names the program: run `make services-up` and do what it says");
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--port", &port.to_string(), "--dir"]).arg(folder.path());
        command.stdout(Stdio::null()).spawn().expect("Redis starts")
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it is killed");
        self.process.wait().expect("it ended");
    }

    /// Starts it again.
    pub(crate) fn up(&mut self) {
        self.process = Self::run(self.port, &self.folder);
    }

    /// Sends it a signal, as "STOP" or "CONT".
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "{name} is sent");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
