//! What goes along with everything that is done for one request: its id and its trace, across tasks of one node through the
//! task's own variable, and to other nodes in the metadata of calls.

use std::future::Future;
use std::sync::Arc;

use http::HeaderMap;

/// The header and metadata key of a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// The header and metadata key of a request's place in a trace (W3C Trace Context, section 3.2).
pub const TRACEPARENT: &str = "traceparent";

/// Which request something is done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The request's id.
    pub request_id: Arc<str>,
    /// Its place in a trace, if it has one.
    pub traceparent: Option<Arc<str>>,
}

tokio::task_local! {
    static CONTEXT: RequestContext;
}

impl RequestContext {
    /// What is done now is done for this request, if for any.
    #[must_use]
    pub fn current() -> Option<Self> {
        CONTEXT.try_with(Clone::clone).ok()
    }

    /// Does something for this request.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CONTEXT.scope(self, future)
    }
}

/// The id that a caller gave its request, if it is sane.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let sane = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane)
}

/// The trace context of a request, if it has its form.
#[must_use]
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let sane = |text: &&str| text.len() == 55 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).filter(sane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_for_a_request_knows_it() {
        let context = RequestContext { request_id: "r1".into(), traceparent: None };
        assert_eq!(context.clone().scope(async { RequestContext::current() }).await, Some(context));
        assert_eq!(RequestContext::current(), None);
    }

    #[test]
    fn only_sane_ids_and_traces_are_taken() {
        let headers = |name: &'static str, value: &str| HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().expect("a header"))]);
        assert_eq!(request_id(&headers(REQUEST_ID, "a-b_c.1")), Some("a-b_c.1"));
        for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert_eq!(request_id(&headers(REQUEST_ID, bad)), None);
        }
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&headers(TRACEPARENT, trace)), Some(trace));
        assert_eq!(traceparent(&headers(TRACEPARENT, &trace[1..])), None);
    }
}
