//! The client half: a peer with its one connection, and what a call to it needs: a deadline, another try where it does no harm,
//! a circuit breaker, metrics, and the request it is made for. Each api has a file.

mod auth;
mod breaker;
mod message;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};
use wa_core::error::{Error, Result};
use wa_core::ports::Env;

pub use self::auth::GrpcAuthClient;
pub use self::message::GrpcMessageClient;

use self::breaker::{Breaker, Leave};
use super::code_name;
use super::status::{is_answer, retry_delay, to_error};
use crate::context::{REQUEST_ID, RequestContext, TRACEPARENT};
use crate::metrics::Metrics;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(1);

/// A peer that does not answer a ping for so long is gone.
const PING: Duration = Duration::from_secs(5);
const PONG: Duration = Duration::from_secs(5);

/// What a call may take with all its tries: less than the five seconds within which everybody is answered.
const BUDGET: Duration = Duration::from_millis(4500);

/// Tries of one call, and the pause after the first, which doubles.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// The deadline of a try (contract, section 4).
const DEADLINE: Duration = Duration::from_secs(1);
const LONG_DEADLINE: Duration = Duration::from_secs(2);

/// The address of a peer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{url} is not the address of a peer: {source}")]
pub struct InvalidPeer {
    url: String,
    source: tonic::transport::Error,
}

/// A method of a peer.
#[derive(Debug, Clone, Copy)]
struct Method {
    service: &'static str,
    name: &'static str,
    deadline: Duration,
    /// Whether making the call twice is making it once.
    is_idempotent: bool,
}

impl Method {
    const fn read(service: &'static str, name: &'static str) -> Self {
        Self { service, name, deadline: DEADLINE, is_idempotent: true }
    }

    const fn once(service: &'static str, name: &'static str) -> Self {
        Self { service, name, deadline: DEADLINE, is_idempotent: false }
    }

    const fn long(self) -> Self {
        Self { deadline: LONG_DEADLINE, ..self }
    }
}

/// A process that answers for a peer.
struct Place {
    channel: Channel,
    breaker: Breaker,
}

struct Inner {
    name: String,
    places: Vec<Place>,
    /// Counts the tries, which go to one place after the other.
    next: AtomicUsize,
    env: Arc<dyn Env>,
    metrics: Metrics,
}

/// A process in which a role runs that does not run here, or several that are asked in turn. Cloning shares connections and breakers.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.0.name).finish()
    }
}

impl Place {
    fn new(url: &str, name: String, metrics: Metrics) -> Result<Self, tonic::transport::Error> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true);
        if url.starts_with("https:") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        let breaker = Breaker::new(move |state| metrics.grpc_circuit(&name, state));
        Ok(Self { channel: endpoint.connect_lazy(), breaker })
    }
}

impl Peer {
    /// The peer at these URLs (`http://…` or `https://…`), called `name` in metrics and logs. Each is connected to when it is first
    /// called, and again whenever the connection is gone.
    ///
    /// # Errors
    /// [`InvalidPeer`] if one is no such URL.
    pub fn new(name: impl Into<String>, urls: &[impl AsRef<str>], env: Arc<dyn Env>, metrics: Metrics) -> Result<Self, InvalidPeer> {
        let name = name.into();
        let places = urls.iter().map(AsRef::as_ref).map(|url| {
            let shown = if urls.len() == 1 { name.clone() } else { format!("{name} at {}", url.trim_end_matches('/')) };
            Place::new(url, shown, metrics.clone()).map_err(|source| InvalidPeer { url: url.to_owned(), source })
        });
        let places = places.collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Arc::new(Inner { name, places, next: AtomicUsize::new(0), env, metrics })))
    }

    /// The next place that may be called, and leave to do so. `Err` tells for how long there is none.
    fn leave(&self) -> Result<(&Place, Leave<'_>), Duration> {
        let places = &self.0.places;
        let first = self.0.next.fetch_add(1, Ordering::Relaxed);
        let mut shortest = breaker::OPEN;
        for number in 0..places.len() {
            let place = &places[first.wrapping_add(number) % places.len()];
            match place.breaker.ask() {
                Ok(leave) => return Ok((place, leave)),
                Err(wait) => shortest = shortest.min(wait),
            }
        }
        Err(shortest)
    }

    /// Calls a method, as often as it may be.
    async fn call<Q, A, F, Done>(&self, method: Method, request: Q, send: F) -> Result<A>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> Done,
        Done: Future<Output = Result<Response<A>, Status>>,
    {
        let until = Instant::now() + BUDGET;
        let mut pause = PAUSE;
        for tries in 1.. {
            let (place, leave) = match self.leave() {
                Ok(found) => found,
                Err(retry_after) => {
                    let cause = format!("the circuit to {} is open", self.0.name);
                    return Err(Error::Unavailable { retry_after, source: Some(cause.into()) });
                }
            };
            let within = method.deadline.min(until.saturating_duration_since(Instant::now()));
            let mut call = Request::new(request.clone());
            call.set_timeout(within);
            accompany(&mut call);
            let status = match tokio::time::timeout(within, send(place.channel.clone(), call)).await {
                Ok(Ok(answer)) => {
                    leave.answered();
                    self.0.metrics.grpc_called(method.service, method.name, code_name(Code::Ok));
                    return Ok(answer.into_inner());
                }
                // The library's own word for a deadline that passed: nobody else gives up a call of ours.
                Ok(Err(status)) if status.code() == Code::Cancelled => Status::deadline_exceeded(status.message()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("{} did not answer in time", self.0.name)),
            };
            self.0.metrics.grpc_called(method.service, method.name, code_name(status.code()));
            if is_answer(&status) || !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown) {
                leave.answered();
            } else {
                leave.failed();
            }
            let wait = retry_delay(&status).map(|asked| asked.max(self.jittered(pause)));
            match wait {
                Some(wait) if method.is_idempotent && tries < TRIES && Instant::now() + wait + PAUSE < until => {
                    tracing::debug!(peer = self.0.name, method = method.name, code = code_name(status.code()), tries, "a call failed; it is made again");
                    tokio::time::sleep(wait).await;
                    pause *= 2;
                }
                _ => return Err(to_error(status)),
            }
        }
        unreachable!("the last try returns")
    }

    /// From half of a pause to the whole of it, so that callers do not come back all at once.
    fn jittered(&self, pause: Duration) -> Duration {
        let mut byte = [0];
        self.0.env.fill(&mut byte);
        pause.mul_f32(0.5 + f32::from(byte[0]) / 510.0)
    }
}

/// Sends along what request the call is made for.
fn accompany<Q>(call: &mut Request<Q>) {
    let Some(context) = RequestContext::current() else { return };
    if let Ok(id) = MetadataValue::try_from(&*context.request_id) {
        call.metadata_mut().insert(REQUEST_ID, id);
    }
    if let Some(Ok(parent)) = context.traceparent.as_deref().map(MetadataValue::try_from) {
        call.metadata_mut().insert(TRACEPARENT, parent);
    }
}

/// An object in an answer of a peer.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(Error::internal)
}

#[cfg(test)]
mod tests;
