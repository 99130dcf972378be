//! What happens around every call that is answered: its request id and span, its deadline, its metrics, and what the library
//! refuses in words of its own put into ours.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, field};
use uuid::Uuid;
use wa_core::error::Error;
use wa_core::ports::{Env, EnvExt as _};

use crate::context::{self, RequestContext};
use crate::grpc::status::to_status;
use crate::grpc::{LARGEST_REQUEST, code_name, methods};
use crate::metrics::Metrics;

/// No call takes longer.
const LONGEST: Duration = Duration::from_secs(5);

type Known = Arc<HashMap<String, (String, String)>>;

/// Puts [`Observe`] around all services.
#[derive(Clone)]
pub(super) struct ObserveLayer {
    metrics: Metrics,
    env: Arc<dyn Env>,
    known: Known,
}

impl ObserveLayer {
    pub(super) fn new(metrics: Metrics, env: Arc<dyn Env>) -> Self {
        let known = methods().into_iter().map(|(service, method)| (format!("/{service}/{method}"), (service, method))).collect();
        Self { metrics, env, known: Arc::new(known) }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, layer: self.clone() }
    }
}

/// Services, looked at from outside.
#[derive(Clone)]
pub(super) struct Observe<S> {
    inner: S,
    layer: ObserveLayer,
}

impl<S> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was found ready is used; its copy waits for the next.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = &self.layer;
        let request_id: Arc<str> = context::request_id(request.headers()).map_or_else(|| layer.env.new_id::<Uuid>().to_string().into(), Into::into);
        let traceparent = context::traceparent(request.headers());
        let (service, method) = layer.known.get(request.uri().path()).cloned().unwrap_or_else(|| ("other".to_owned(), "other".to_owned()));
        let span = tracing::info_span!("call", request_id = %request_id, service, method, traceparent = field::Empty);
        if let Some(parent) = traceparent {
            span.record("traceparent", parent);
        }
        let context = RequestContext { request_id: Arc::clone(&request_id), traceparent: traceparent.map(Into::into) };
        let within = deadline(request.headers());
        let mut counted = Counted { metrics: layer.metrics.clone(), service, method, code: Code::Cancelled, started: Instant::now() };
        let answered = async move {
            let called = AssertUnwindSafe(inner.call(request)).catch_unwind();
            let mut response = match tokio::time::timeout(within, called).await {
                Ok(Ok(Ok(response))) => in_our_words(response),
                Ok(Ok(Err(error))) => return Err(error),
                // The panic's own text stays out of the answer and the log: it may quote a body.
                Ok(Err(_panic)) => to_status(&Error::internal("a handler panicked")).into_http(),
                Err(_) => Status::deadline_exceeded("The call took longer than it may").into_http(),
            };
            counted.code = code_of(&response);
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert(context::REQUEST_ID, id);
            }
            drop(counted);
            Ok(response)
        };
        Box::pin(context.scope(answered.instrument(span)))
    }
}

/// Counts a call when it is done with, also if its caller went away.
struct Counted {
    metrics: Metrics,
    service: String,
    method: String,
    code: Code,
    started: Instant,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.metrics.grpc_handled(&self.service, &self.method, code_name(self.code), took.as_secs_f64());
        tracing::debug!(code = code_name(self.code), latency_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "call");
    }
}

/// The status of a unary call that failed is in the head of the answer; one that succeeded tells so behind its body.
fn code_of(response: &Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

/// The library refuses what it cannot read as something else than what it is.
fn in_our_words(response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let error = match status.code() {
        Code::OutOfRange if status.message().contains("decoded message length too large") => {
            return Status::with_details(
                Code::ResourceExhausted,
                format!("The request has more than {LARGEST_REQUEST} bytes; send less at once"),
                to_status(&Error::TooLarge(wa_core::error::TooLarge::Payload)).details().to_vec().into(),
            )
            .into_http();
        }
        Code::Internal if status.message().contains("failed to decode Protobuf message") => {
            Error::BadRequest("The request is no message of this method".to_owned())
        }
        _ => return response,
    };
    to_status(&error).into_http()
}

/// What the caller allows (gRPC over HTTP/2, `grpc-timeout`), and never more than any call may take.
fn deadline(headers: &HeaderMap) -> Duration {
    let asked = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(|text| {
        let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let count: u64 = Some(count).filter(|count| count.len() <= 8)?.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(count * 3600),
            "M" => Duration::from_secs(count * 60),
            "S" => Duration::from_secs(count),
            "m" => Duration::from_millis(count),
            "u" => Duration::from_micros(count),
            "n" => Duration::from_nanos(count),
            _ => return None,
        })
    });
    asked.map_or(LONGEST, |asked| asked.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_holds_up_to_the_longest() {
        let of = |text: &str| deadline(&HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), text.parse().expect("a header"))]));
        assert_eq!(of("250m"), Duration::from_millis(250));
        assert_eq!(of("2S"), Duration::from_secs(2));
        for other in ["1H", "99999999H", "999999999n", "", "S", "x", "1x", "-1S"] {
            assert_eq!(of(other), LONGEST, "{other}");
        }
    }
}
