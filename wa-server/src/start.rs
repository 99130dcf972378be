//! Why a server cannot start, told to the person who starts it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::secrets::SecretsError;

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be made.
    #[error("cannot make the data directory {}: {source}; make its parent writable for this user, or name another one with --data-dir", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secrets cannot be had.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The stores cannot be opened.
    #[error(transparent)]
    Storage(#[from] wa_storage::OpenError),
    /// Text messages cannot be sent as configured.
    #[error(transparent)]
    Sms(#[from] wa_transport::sms::InvalidWebhook),
    /// The credentials of FCM cannot be read.
    #[error("push.fcm_credentials: cannot read {}: {source}; make it readable for this user, or remove the key", path.display())]
    PushCredentials {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The credentials of FCM cannot be used.
    #[error("push.fcm_credentials: {} {source}; download the service account's JSON again, or remove the key", path.display())]
    InvalidPushCredentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: wa_transport::push::InvalidCredentials,
    },
    /// Pushes cannot be sent.
    #[error(transparent)]
    Push(#[from] wa_transport::push::NoTls),
    /// The event bus cannot be reached.
    #[error("cannot subscribe to the event bus: {0}")]
    Bus(#[source] wa_core::error::StoreError),
    /// The address of another role cannot be used.
    #[cfg(feature = "cluster")]
    #[error("peers: {0}")]
    Peer(#[from] wa_transport::grpc::InvalidPeer),
    /// A gateway knows nobody who checks tokens.
    #[cfg(feature = "cluster")]
    #[error("peers.auth.grpc is missing: write where the role auth is, such as \"http://127.0.0.1:9081\"")]
    NoAuth,
    /// Nothing can be handed on to other roles.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Gateway(#[from] wa_transport::gateway::NoProxy),
    /// Something else listens there.
    #[error("port {} is in use: pass --port with another one (or --port 0 for a free one), or stop what listens on {}", .0.port(), .0)]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", match source.kind() {
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: pass --port with a higher one",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address: pass --bind with one it has, such as 127.0.0.1:8080 or 0.0.0.0:8080",
        _ => "pass --bind with another one",
    })]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl StartError {
    pub(crate) fn of_bind(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse(address),
            _ => Self::Bind { address, source },
        }
    }
}
