//! Every metric of the contract, section 8, in a registry of its own: nothing global, so that a host can embed several.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use wa_core::ports::PushOutcome;

/// The metrics of one server. Cloning shares them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    http_in_flight: IntGauge,
    ws_connections: IntGauge,
    ws_sent: IntCounter,
    ws_received: IntCounter,
    messages_persisted: IntCounter,
    message_delivery: Histogram,
    media_uploads: IntCounter,
    media_upload_bytes: IntCounter,
    pushes_sent: IntCounterVec,
    push_batch_size: Histogram,
    rate_limited: IntCounterVec,
    outbox_depth: IntGauge,
    pool_connections: IntGaugeVec,
    runtime_tasks: IntGauge,
    grpc_handled: IntCounterVec,
    grpc_handling: HistogramVec,
    grpc_called: IntCounterVec,
    grpc_circuit: IntGaugeVec,
}

/// The label of what came of a push.
const fn push_status(outcome: &PushOutcome) -> &'static str {
    match outcome {
        PushOutcome::Sent => "sent",
        PushOutcome::Logged => "logged",
        PushOutcome::Gone => "gone",
        PushOutcome::Refused => "refused",
        PushOutcome::Failed { .. } => "failed",
        PushOutcome::Resting { .. } => "postponed",
    }
}

/// From a millisecond to ten seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry in which every metric exists at 0.
    ///
    /// # Panics
    /// Never: the names are constant, valid and distinct, which a test holds.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        macro_rules! register {
            ($metric:expr) => {{
                let metric = $metric.expect("constant names are valid");
                registry.register(Box::new(metric.clone())).expect("constant names are distinct");
                metric
            }};
        }
        let inner = Inner {
            http_requests: register!(IntCounterVec::new(Opts::new("http_requests_total", "REST requests answered"), &["method", "path", "status"])),
            http_duration: register!(HistogramVec::new(
                HistogramOpts::new("http_request_duration_seconds", "Time to answer a REST request").buckets(SECONDS.to_vec()),
                &["method", "path"]
            )),
            http_in_flight: register!(IntGauge::new("http_requests_in_flight", "REST requests being answered")),
            ws_connections: register!(IntGauge::new("ws_connections_active", "Open sockets")),
            ws_sent: register!(IntCounter::new("ws_messages_sent_total", "Frames written to sockets")),
            ws_received: register!(IntCounter::new("ws_messages_received_total", "Frames read from sockets")),
            messages_persisted: register!(IntCounter::new("messages_persisted_total", "Messages stored durably")),
            message_delivery: register!(Histogram::with_opts(
                HistogramOpts::new("message_delivery_seconds", "From accepting a message to writing it to a socket").buckets(SECONDS.to_vec())
            )),
            media_uploads: register!(IntCounter::new("media_uploads_total", "Files uploaded")),
            media_upload_bytes: register!(IntCounter::new("media_upload_bytes_total", "Bytes of files uploaded")),
            pushes_sent: register!(IntCounterVec::new(Opts::new("pushes_sent_total", "Pushes handed to a provider, by what came of it"), &["status"])),
            push_batch_size: register!(Histogram::with_opts(
                HistogramOpts::new("push_batch_size", "Messages that a push tells of").buckets(vec![1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1000.0])
            )),
            rate_limited: register!(IntCounterVec::new(Opts::new("rate_limit_exceeded_total", "Requests refused by a rate limit"), &["limit"])),
            outbox_depth: register!(IntGauge::new("outbox_depth", "Committed events not yet handed to the bus")),
            pool_connections: register!(IntGaugeVec::new(Opts::new("pool_connections", "Database connections"), &["pool", "state"])),
            runtime_tasks: register!(IntGauge::new("runtime_tasks", "Live tasks of the async runtime")),
            grpc_handled: register!(IntCounterVec::new(
                Opts::new("grpc_server_handled_total", "gRPC calls answered, by code"),
                &["grpc_service", "grpc_method", "grpc_code"]
            )),
            grpc_handling: register!(HistogramVec::new(
                HistogramOpts::new("grpc_server_handling_seconds", "Time to answer a gRPC call").buckets(SECONDS.to_vec()),
                &["grpc_service", "grpc_method"]
            )),
            grpc_called: register!(IntCounterVec::new(
                Opts::new("grpc_client_handled_total", "gRPC calls made, each attempt for itself, by code"),
                &["grpc_service", "grpc_method", "grpc_code"]
            )),
            grpc_circuit: register!(IntGaugeVec::new(
                Opts::new("grpc_client_circuit_state", "Whether calls to a peer go out: 0 closed, 1 half open, 2 open"),
                &["peer"]
            )),
            registry,
        };
        for outcome in [
            PushOutcome::Sent,
            PushOutcome::Logged,
            PushOutcome::Gone,
            PushOutcome::Refused,
            PushOutcome::Failed { retry_after: None },
            PushOutcome::Resting { wait: Duration::ZERO },
        ] {
            inner.pushes_sent.with_label_values(&[push_status(&outcome)]);
        }
        for limit in ["otp_send", "otp_verify", "api_user", "api_ip", "contacts_sync", "upload", "ws_messages", "ws_other"] {
            inner.rate_limited.with_label_values(&[limit]);
        }
        Self(Arc::new(inner))
    }

    /// Counts a REST request; `path` is the route's template.
    pub fn http_request(&self, method: &str, path: &str, status: u16, seconds: f64) {
        self.0.http_requests.with_label_values(&[method, path, &status.to_string()]).inc();
        self.0.http_duration.with_label_values(&[method, path]).observe(seconds);
    }

    /// Makes a route's metrics exist before its first request; `path` is its template.
    pub fn http_route(&self, method: &str, path: &str, status: u16) {
        self.0.http_requests.with_label_values(&[method, path, &status.to_string()]);
        self.0.http_duration.with_label_values(&[method, path]);
    }

    /// REST requests being answered.
    #[must_use]
    pub fn http_in_flight(&self) -> &IntGauge {
        &self.0.http_in_flight
    }

    /// Open sockets.
    #[must_use]
    pub fn ws_connections(&self) -> &IntGauge {
        &self.0.ws_connections
    }

    /// Frames written to sockets.
    #[must_use]
    pub fn ws_sent(&self) -> &IntCounter {
        &self.0.ws_sent
    }

    /// Frames read from sockets.
    #[must_use]
    pub fn ws_received(&self) -> &IntCounter {
        &self.0.ws_received
    }

    /// Messages stored durably.
    #[must_use]
    pub fn messages_persisted(&self) -> &IntCounter {
        &self.0.messages_persisted
    }

    /// From accepting a message to writing it to a socket.
    #[must_use]
    pub fn message_delivery(&self) -> &Histogram {
        &self.0.message_delivery
    }

    /// Files uploaded.
    #[must_use]
    pub fn media_uploads(&self) -> &IntCounter {
        &self.0.media_uploads
    }

    /// Bytes of files uploaded.
    #[must_use]
    pub fn media_upload_bytes(&self) -> &IntCounter {
        &self.0.media_upload_bytes
    }

    /// Counts a push that told of so many messages.
    pub fn pushed(&self, outcome: &PushOutcome, messages: u64) {
        self.0.pushes_sent.with_label_values(&[push_status(outcome)]).inc();
        if matches!(outcome, PushOutcome::Sent | PushOutcome::Logged) {
            self.0.push_batch_size.observe(u32::try_from(messages).map_or(f64::from(u32::MAX), f64::from));
        }
    }

    /// Counts a gRPC call that was answered here.
    pub fn grpc_handled(&self, service: &str, method: &str, code: &str, seconds: f64) {
        self.0.grpc_handled.with_label_values(&[service, method, code]).inc();
        self.0.grpc_handling.with_label_values(&[service, method]).observe(seconds);
    }

    /// Makes a method's metrics exist before its first call.
    pub fn grpc_method(&self, service: &str, method: &str) {
        self.0.grpc_handled.with_label_values(&[service, method, "OK"]);
        self.0.grpc_handling.with_label_values(&[service, method]);
    }

    /// Counts an attempt of a gRPC call that was made from here.
    pub fn grpc_called(&self, service: &str, method: &str, code: &str) {
        self.0.grpc_called.with_label_values(&[service, method, code]).inc();
    }

    /// Sets whether calls to a peer go out: 0 closed, 1 half open, 2 open.
    pub fn grpc_circuit(&self, peer: &str, state: i64) {
        self.0.grpc_circuit.with_label_values(&[peer]).set(state);
    }

    /// Counts a refusal by the named limit.
    pub fn rate_limited(&self, limit: &str) {
        self.0.rate_limited.with_label_values(&[limit]).inc();
    }

    /// Committed events not yet handed to the bus.
    #[must_use]
    pub fn outbox_depth(&self) -> &IntGauge {
        &self.0.outbox_depth
    }

    /// Sets the size of a connection pool by state ("idle", "used").
    pub fn pool_connections(&self, pool: &str, state: &str, connections: i64) {
        self.0.pool_connections.with_label_values(&[pool, state]).set(connections);
    }

    /// Live tasks of the async runtime.
    #[must_use]
    pub fn runtime_tasks(&self) -> &IntGauge {
        &self.0.runtime_tasks
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_exists_before_its_first_event() {
        let text = Metrics::new().render();
        for name in [
            "http_requests_in_flight",
            "ws_connections_active",
            "ws_messages_sent_total",
            "messages_persisted_total",
            "message_delivery_seconds",
            "pushes_sent_total",
            "push_batch_size",
            "rate_limit_exceeded_total",
            "outbox_depth",
            "media_uploads_total",
            "media_upload_bytes_total",
        ] {
            assert!(text.contains(name), "{name} is missing");
        }
    }
}
