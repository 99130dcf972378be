//! A NATS server of a test's own, which it may kill, stop, start again and empty. Shared by the tests of several crates.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server on a port and with a folder of its own.
pub(crate) struct NatsServer {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    options: String,
    process: Option<Child>,
}

impl NatsServer {
    /// Starts one with JetStream.
    pub(crate) async fn start() -> Self {
        Self::with("jetstream { store_dir: \"STORE\" }").await
    }

    /// Starts one with these options; `STORE` is its folder.
    pub(crate) async fn with(options: &str) -> Self {
        let program = std::env::var_os("WA_TEST_NATS_SERVER").expect("WA_TEST_NATS_SERVER names the server: deploy/services/services.sh up nats");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let folder = std::env::temp_dir().join(format!("wa-nats-{}-{port}", std::process::id()));
        let mut server =
            Self { program: program.into(), options: options.replace("STORE", &folder.join("store").display().to_string()), folder, port, process: None };
        server.up().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it again.
    pub(crate) async fn up(&mut self) {
        std::fs::create_dir_all(&self.folder).expect("a folder");
        let config = self.folder.join("nats.conf");
        std::fs::write(&config, format!("listen: 127.0.0.1:{}\n{}\n", self.port, self.options)).expect("written");
        let log = std::fs::File::create(self.folder.join("log")).expect("a log");
        let process = Command::new(&self.program).arg("-c").arg(&config).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        self.process = Some(process);
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not come up: {}", std::fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Kills it, and deletes everything it kept.
    pub(crate) fn wipe(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.folder.join("store")).expect("deleted");
    }

    /// Sends it a signal, as "STOP" or "CONT".
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").id();
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().expect("a signal is sent");
        assert!(sent.success());
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
