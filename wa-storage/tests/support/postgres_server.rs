//! A PostgreSQL server of a test's own, which it may kill, stop and start again. Shared by the tests of several crates.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server of its own, which can be killed and started again.
pub(crate) struct PostgresServer {
    state: tempfile::TempDir,
    running: Option<Child>,
}

impl PostgresServer {
    fn script(state: &Path, what: &[&str]) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/services/services.sh");
        let done = Command::new("bash").arg(script).args(what).env("WA_SERVICES_STATE", state).stderr(Stdio::inherit()).output().expect("the script runs");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Starts one; with it comes its URL.
    pub(crate) fn start() -> (Self, String) {
        let state = tempfile::tempdir().expect("a folder");
        let said = Self::script(state.path(), &["up", "postgres"]);
        let url = said.split('\'').nth(1).expect("it says where it is").to_owned();
        (Self { state, running: None }, url)
    }

    /// Sends all its processes a signal, as "STOP" or "CONT".
    #[allow(dead_code, reason = "not every test stops it")]
    pub(crate) fn signal(&self, name: &str) {
        const ALL: &str = "family() { echo $1; for child in $(pgrep -P $1); do family $child; done; }; kill -$0 $(family $1)";
        let id = std::fs::read_to_string(self.folder().join("pid")).expect("its id is noted");
        // Some of its processes may have ended by then.
        Command::new("bash").args(["-c", ALL, name, id.trim()]).stderr(Stdio::null()).status().expect("a signal is sent");
    }

    fn folder(&self) -> PathBuf {
        self.state.path().join("postgres")
    }

    /// Kills it and all its processes, as a power failure would.
    pub(crate) fn kill(&mut self) {
        let id = std::fs::read_to_string(self.folder().join("pid")).expect("its id is noted");
        let killed = Command::new("kill").args(["-9", "--", &format!("-{}", id.trim())]).status().expect("kill runs");
        assert!(killed.success(), "it is killed");
        if let Some(mut running) = self.running.take() {
            running.wait().expect("it ended");
        }
    }

    /// Its processes are in groups of their own and go a little later than the first of them; until then it does not start.
    pub(crate) fn start_again(&mut self) {
        const REPEATEDLY: &str = "for _ in $(seq 200); do bash \"$0\" && break; sleep 0.1; done";
        let mut start = Command::new("setsid");
        let start = start.args(["bash", "-c", REPEATEDLY]).arg(self.folder().join("command")).stdout(Stdio::null()).stderr(Stdio::null());
        let running = start.spawn().expect("it starts");
        std::fs::write(self.folder().join("pid"), running.id().to_string()).expect("its id is noted");
        self.running = Some(running);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        Self::script(self.state.path(), &["down"]);
        if let Some(mut running) = self.running.take() {
            let _ = running.wait();
        }
    }
}
