//! How a command fails: a sentence for the person, and an exit code for the script.

use std::io;
use std::process::ExitCode;

use wa_transport::client::ClientError;

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: Option<String>,
}

impl Failure {
    /// Anything without a code of its own.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self { code: 1, message: Some(message.into()) }
    }

    /// The command was used wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: Some(message.into()) }
    }

    /// Login is needed.
    pub(crate) fn auth(message: impl Into<String>) -> Self {
        Self { code: 3, message: Some(message.into()) }
    }

    /// What was named does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: 4, message: Some(message.into()) }
    }

    /// The server is not there.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { code: 5, message: Some(message.into()) }
    }

    /// What is told to the person.
    pub(crate) fn into_message(self) -> String {
        self.message.unwrap_or_default()
    }

    /// Ctrl-C.
    pub(crate) const fn interrupted() -> Self {
        Self { code: 130, message: None }
    }

    /// Tells the person, and gives the code.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("wa: {message}");
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Invalid(_) => 2,
            ClientError::ConnectedElsewhere => 6,
            error if error.is_auth() => 3,
            error if error.is_unavailable() => 5,
            ClientError::Api(api) => match (api.status, api.code.as_str()) {
                (404, _) => 4,
                (_, "RATE_LIMITED" | "OTP_MAX_ATTEMPTS") => 5,
                _ => 1,
            },
            _ => 1,
        };
        let mut message = match &error {
            ClientError::NotLoggedIn | ClientError::SessionEnded => "the session has ended: run `wa login` for this profile".to_owned(),
            ClientError::ConnectedElsewhere => {
                "another program connected with this profile, and a device holds one connection: use another profile (`wa login --as NAME`) for a second one"
                    .to_owned()
            }
            error => error.to_string(),
        };
        for field in error.api().map(|api| api.details.as_slice()).unwrap_or_default() {
            message.push_str(&format!("; {} {}", field.field, field.message));
        }
        if let Some(wait) = error.retry_after() {
            message.push_str(&format!("; try again in {} s", wait.as_secs().max(1)));
        }
        Self { code, message: Some(message) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Whoever read the output has seen enough, as `wa chats list | head -1` has.
            io::ErrorKind::BrokenPipe => Self { code: 0, message: None },
            _ => Self::general(error.to_string()),
        }
    }
}
