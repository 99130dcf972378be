//! What is measured runs in processes of its own, so that what it takes can be told from what the load takes.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wa_cli::load::Usage;

/// A process that serves; it ends when this is dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// This program as a relay; with a log in this folder if there is one.
    pub(crate) fn relay(log: Option<&Path>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--relay").args(log);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { child, address })
    }

    /// The server, with everything it keeps in this folder.
    pub(crate) fn server(folder: &Path) -> io::Result<Self> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let program = program()?;
        let child = Command::new(&program)
            // The server refuses variables of its prefix that it does not know.
            .env_remove("WA_SERVER_BIN")
            .args(["--port", &address.port().to_string(), "--data-dir"])
            .arg(folder)
            .envs([("WA_DEV__ECHO_OTP", "true"), ("WA_LIMITS__ENABLED", "false"), ("WA_TELEMETRY__LOG_LEVEL", "error")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}; build it first, or name it in WA_SERVER_BIN", program.display())))?;
        let served = Self { child, address };
        let until = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(address).is_err() {
            if Instant::now() > until {
                return Err(io::Error::other("the server did not come up"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(served)
    }

    pub(crate) fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server built with the same profile as this program.
fn program() -> io::Result<PathBuf> {
    match std::env::var_os("WA_SERVER_BIN") {
        Some(path) => Ok(path.into()),
        None => Ok(std::env::current_exe()?.with_file_name("wa-server")),
    }
}
