//! A client for the profile a command works with; the demo users of a development server are logged in by themselves.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use url::{Host, Url};
use wa_core::api::LoggedIn;
use wa_transport::client::{Client, Tokens};

use crate::failure::Failure;
use crate::profiles::{Profile, ProfileFile, Profiles};

/// Where a server is expected if nobody says.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// The profile if nobody says.
pub(crate) const DEFAULT_PROFILE: &str = "default";

/// The users a server in development mode starts with, and their phones.
const DEMO_USERS: [(&str, &str); 2] = [("alice", "+15550100001"), ("bob", "+15550100002")];

/// Which profile on which server.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) profile: String,
    pub(crate) server: Option<String>,
}

impl Account {
    pub(crate) fn server_or_default(&self) -> &str {
        self.server.as_deref().unwrap_or(DEFAULT_SERVER)
    }

    pub(crate) fn file(&self) -> Result<ProfileFile, Failure> {
        Profiles::open()?.file(&self.profile)
    }

    /// A client that is logged in.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let file = self.file()?;
        let demo = demo_phone(&self.profile);
        match file.read()? {
            Some(profile) => {
                if let Some(server) = self.server.as_ref().filter(|server| server.trim_end_matches('/') != profile.server) {
                    return Err(Failure::usage(format!("the profile {:?} is a login on {}, not on {server}", self.profile, profile.server)));
                }
                let server = profile.server;
                let client = Client::builder(&server).token_store(Arc::new(file.clone())).build()?;
                // A development server that starts anew knows no old sessions.
                if let Some(phone) = demo.filter(|_| is_loopback(&server))
                    && let Err(error) = client.me().await
                    && error.is_auth()
                {
                    return self.demo_login(&file, &server, phone).await;
                }
                Ok(client)
            }
            None => {
                let server = self.server_or_default();
                match demo.filter(|_| is_loopback(server)) {
                    Some(phone) => self.demo_login(&file, server, phone).await,
                    None => Err(self.no_login()),
                }
            }
        }
    }

    fn no_login(&self) -> Failure {
        Failure::auth(format!("there is no login {:?}: run `wa login --as {}`", self.profile, self.profile))
    }

    async fn demo_login(&self, file: &ProfileFile, server: &str, phone: &str) -> Result<Client, Failure> {
        let client = Client::builder(server).build()?;
        let Some(code) = client.request_otp(phone).await?.otp else {
            return Err(self.no_login());
        };
        let login = client.verify_otp(phone, &code, Some(&device_name())).await?;
        eprintln!("Logged in as the demo user {} on {server}.", self.profile);
        self.keep(file, server, &login)
    }

    /// Stores a login and gives a client that uses it.
    pub(crate) fn keep(&self, file: &ProfileFile, server: &str, login: &LoggedIn) -> Result<Client, Failure> {
        let _no_other_process = file.lock()?;
        file.write(&Profile {
            server: server.trim_end_matches('/').to_owned(),
            user_id: login.user.id,
            device_id: login.device_id,
            phone: login.user.phone.clone(),
            tokens: Tokens::from(login),
        })?;
        Ok(Client::builder(server).token_store(Arc::new(file.clone())).build()?)
    }
}

/// The phone of a demo user.
pub(crate) fn demo_phone(name: &str) -> Option<&'static str> {
    DEMO_USERS.iter().find(|(demo, _)| *demo == name).map(|(_, phone)| *phone)
}

/// Whether the server runs on this machine.
pub(crate) fn is_loopback(server: &str) -> bool {
    let Ok(url) = Url::parse(server) else { return false };
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What the device is called in the list of devices.
pub(crate) fn device_name() -> String {
    let host = std::fs::read_to_string("/etc/hostname").ok().or_else(|| std::env::var("COMPUTERNAME").ok()).unwrap_or_default();
    match host.trim() {
        "" => "wa".to_owned(),
        host => format!("wa on {}", host.chars().take(48).collect::<String>()),
    }
}

/// Asks the person, or reads the next line of a script.
pub(crate) fn ask(what: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        eprint!("{what}: ");
        io::stderr().flush()?;
    }
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(Failure::usage(format!("{what} is needed, and the input has ended")));
    }
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_counts_as_loopback() {
        for local in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:9", "https://127.9.9.9"] {
            assert!(is_loopback(local), "{local}");
        }
        for remote in ["http://10.0.0.1", "http://localhost.example.com", "http://example.com", "nonsense", "http://127.0.0.1.nip.io"] {
            assert!(!is_loopback(remote), "{remote}");
        }
    }
}
