//! Hands text messages to a webhook of the operator (contract, sections 8 and 10): POST JSON `{to, text, purpose}`, signed
//! with `X-Wa-Signature: sha256=<lower-case hex of the body's HMAC>` where there is a secret.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use ring::hmac;
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde::Serialize;
use url::Url;
use wa_core::error::StoreError;
use wa_core::phone::Phone;
use wa_core::ports::{SmsSender, Stored};

/// How long the webhook may take. A login request may take five seconds in all.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The webhook cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("sms.webhook_url: {0}")]
pub struct InvalidWebhook(String);

/// Sends text messages through a webhook. Anything but a 2xx in time is an error.
pub struct WebhookSmsSender {
    client: reqwest::Client,
    url: Url,
    key: Option<hmac::Key>,
}

#[derive(Serialize)]
struct Order<'a> {
    to: &'a str,
    text: &'a str,
    purpose: &'static str,
}

impl WebhookSmsSender {
    /// A sender to this URL; with a secret, every request is signed.
    ///
    /// # Errors
    /// If the URL is not an HTTP(S) URL or the system's root certificates cannot be loaded.
    pub fn new(url: &str, secret: Option<&str>) -> Result<Self, InvalidWebhook> {
        let url = Url::parse(url).map_err(|error| InvalidWebhook(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidWebhook("must be an http or https URL".to_owned()));
        }
        let client = client(&url).map_err(|error| InvalidWebhook(error.to_string()))?;
        let key = secret.filter(|secret| !secret.is_empty()).map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        Ok(Self { client, url, key })
    }
}

/// The crypto provider is passed in rather than installed: a library leaves the process's default alone.
fn client(url: &Url) -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider())).with_safe_default_protocol_versions()?;
    let tls = if url.scheme() == "https" { tls.with_platform_verifier()? } else { tls.with_root_certificates(rustls::RootCertStore::empty()) };
    let loopback =
        url.host_str().is_some_and(|host| host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
    let builder = if loopback { reqwest::Client::builder().no_proxy() } else { reqwest::Client::builder() };
    let client = builder
        .tls_backend_preconfigured(tls.with_no_client_auth())
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(4)
        .build()?;
    Ok(client)
}

fn signature(key: &hmac::Key, body: &[u8]) -> String {
    use std::fmt::Write as _;
    hmac::sign(key, body).as_ref().iter().fold("sha256=".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[async_trait]
impl SmsSender for WebhookSmsSender {
    async fn send(&self, to: &Phone, text: &str) -> Stored<()> {
        let to = to.to_string();
        let body = serde_json::to_vec(&Order { to: &to, text, purpose: "otp" }).map_err(|error| StoreError::other("sms webhook", error))?;
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            request = request.header("X-Wa-Signature", signature(key, &body));
        }
        // The URL may hold a key of the provider, so it is kept out of the error.
        let answer = request.body(body).send().await.map_err(|error| StoreError::unavailable("sms webhook", error.without_url()))?;
        if answer.status().is_success() { Ok(()) } else { Err(StoreError::unavailable("sms webhook", format!("answered {}", answer.status()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    type Seen = mpsc::UnboundedSender<(HeaderMap, String)>;

    async fn webhook(status: StatusCode) -> (String, mpsc::UnboundedReceiver<(HeaderMap, String)>) {
        let (seen, got) = mpsc::unbounded_channel();
        let take = move |State(seen): State<Seen>, headers: HeaderMap, body: String| async move {
            seen.send((headers, body)).expect("the test listens");
            status
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/sms", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/sms", post(take)).with_state(seen)).await });
        (url, got)
    }

    fn phone() -> Phone {
        Phone::normalise("+15550100001").expect("a valid number")
    }

    #[tokio::test]
    async fn the_order_is_signed_with_the_secret() {
        let (url, mut got) = webhook(StatusCode::ACCEPTED).await;
        WebhookSmsSender::new(&url, Some("secret")).expect("valid").send(&phone(), "code 123456").await.expect("taken");
        let (headers, body) = got.recv().await.expect("a request");
        assert_eq!(body, r#"{"to":"+15550100001","text":"code 123456","purpose":"otp"}"#);
        assert_eq!(headers["content-type"], "application/json");
        // printf '%s' "$body" | openssl dgst -sha256 -hmac secret
        assert_eq!(headers["x-wa-signature"], "sha256=402f9609bc1a426584ff0f89d674d79285d04d008c8485ca83959c0d02ac65aa");
    }

    #[tokio::test]
    async fn without_a_secret_there_is_no_signature() {
        let (url, mut got) = webhook(StatusCode::OK).await;
        WebhookSmsSender::new(&url, None).expect("valid").send(&phone(), "x").await.expect("taken");
        assert!(!got.recv().await.expect("a request").0.contains_key("x-wa-signature"));
    }

    #[tokio::test]
    async fn anything_but_a_success_is_an_error() {
        for status in [StatusCode::MOVED_PERMANENTLY, StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR] {
            let (url, _got) = webhook(status).await;
            let error = WebhookSmsSender::new(&url, None).expect("valid").send(&phone(), "x").await.expect_err("not taken");
            assert_eq!(error.kind, wa_core::error::StoreErrorKind::Unavailable);
            assert!(!error.to_string().contains("/sms"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_webhook_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/sms", listener.local_addr().expect("bound"));
        drop(listener);
        assert!(WebhookSmsSender::new(&url, None).expect("valid").send(&phone(), "x").await.is_err());
    }

    #[test]
    fn only_http_urls_are_webhooks() {
        for bad in ["", "sms", "ftp://host/x", "file:///etc/passwd"] {
            assert!(WebhookSmsSender::new(bad, None).is_err(), "{bad}");
        }
        assert!(WebhookSmsSender::new("https://example.org/hook", None).is_ok());
    }
}
