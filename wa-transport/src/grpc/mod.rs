//! The services of the contract, section 4, over gRPC: `server` answers by the core's apis, `client` implements those apis by
//! calling a peer, so that nothing else can tell whether a role runs here. `status` is the only table of errors, `convert` the
//! only place that knows both the proto files and the core.

mod client;
mod convert;
mod server;
mod status;

pub use self::client::{GrpcAuthClient, GrpcMessageClient, InvalidPeer, Peer};
pub use self::server::{GrpcDeps, GrpcServer, GrpcService};

/// What the proto files define, as prost and tonic make it of them.
#[expect(missing_docs, reason = "the proto files say it")]
#[allow(clippy::pedantic, clippy::nursery, reason = "not written by hand")]
pub mod proto {
    /// Access tokens and sessions.
    pub mod auth {
        tonic::include_proto!("auth.v1");
    }

    /// Profiles, privacy and presence.
    pub mod user {
        tonic::include_proto!("user.v1");
    }

    /// Membership.
    pub mod chat {
        tonic::include_proto!("chat.v1");
    }

    /// The log of every chat.
    pub mod message {
        tonic::include_proto!("message.v1");
    }

    /// Uploaded files.
    pub mod media {
        tonic::include_proto!("media.v1");
    }

    /// The proto files themselves, encoded as a `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/services.bin"));
}

/// Every method of the five services, as `(service, method)`.
pub(crate) fn methods() -> Vec<(String, String)> {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap_or_default();
    let services = set.file.into_iter().flat_map(|file| {
        let package = file.package.unwrap_or_default();
        file.service.into_iter().map(move |service| (format!("{package}.{}", service.name.unwrap_or_default()), service.method))
    });
    services.flat_map(|(name, methods)| methods.into_iter().map(move |method| (name.clone(), method.name.unwrap_or_default()))).collect()
}

/// A request has at most this many bytes. What a person may send in one body is half of it.
pub const LARGEST_REQUEST: usize = 2 << 20;

/// An answer has at most this many bytes: as many messages as one sync may hold, each as long as it may be, fit.
pub const LARGEST_ANSWER: usize = 64 << 20;

/// The name of a code, as metrics show it.
pub(crate) const fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
