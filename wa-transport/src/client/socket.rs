//! The socket itself: the upgrade, and frames in and out.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::upgrade::Error as UpgradeError;
use tokio_websockets::{CloseCode, Connector, Error as WsError, Limits, MaybeTlsStream, Message, WebSocketStream};

use super::Client;
use super::error::ClientError;

/// No frame of the server is larger: an event holds one message or one chat.
const MAX_FRAME: usize = 4 << 20;
/// How long the upgrade may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may take to take in a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// An open socket.
pub(super) struct Socket {
    /// The access token it was opened with.
    pub(super) token: String,
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What came over a socket.
#[derive(Debug)]
pub(super) enum Received {
    /// A frame.
    Text(String),
    /// Something that only shows that the server is there.
    Life,
    /// The server closed it, with this code, or the connection broke.
    Closed { code: Option<u16>, reason: String },
}

/// Why there is no socket.
#[derive(Debug)]
pub(super) enum DialError {
    /// The server refused this access token.
    Refused(String),
    /// Anything else.
    Failed(ClientError),
}

impl From<ClientError> for DialError {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

impl Client {
    /// Opens a socket with the present access token.
    pub(super) async fn dial(&self) -> Result<Socket, DialError> {
        let token = self.inner.tokens.current().await?.access_token;
        let url = format!("{}/ws", self.inner.base.replacen("http", "ws", 1));
        let uri = url.parse().map_err(|_| ClientError::Invalid(format!("{url:?} is no WebSocket address")))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Invalid("the access token is malformed".to_owned()))?;
        bearer.set_sensitive(true);
        let connector = match self.inner.base.starts_with("https") {
            true => Connector::Rustls(self.inner.tls.clone().into()),
            false => Connector::Plain,
        };
        let builder = tokio_websockets::ClientBuilder::from_uri(uri).connector(&connector).limits(Limits::default().max_payload_len(Some(MAX_FRAME)));
        let builder = builder.add_header(AUTHORIZATION, bearer).map_err(ClientError::transport)?;
        let upgrade = timeout(DIAL_TIMEOUT, builder.connect()).await.map_err(|_| ClientError::Timeout(DIAL_TIMEOUT))?;
        match upgrade {
            Ok((ws, _)) => {
                let tcp = match ws.get_ref() {
                    MaybeTlsStream::Plain(tcp) => tcp,
                    MaybeTlsStream::Rustls(tls) => tls.get_ref().0,
                };
                // Frames are small and must not wait for one another.
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "small frames may be late");
                }
                Ok(Socket { token, ws })
            }
            Err(WsError::Upgrade(UpgradeError::DidNotSwitchProtocols(401))) => Err(DialError::Refused(token)),
            Err(error) => Err(ClientError::transport(error).into()),
        }
    }
}

/// How long a server that shuts down (1001) asks to be left alone.
pub(super) fn advised(code: u16, reason: &str) -> Option<Duration> {
    let wait = reason.rsplit_once("retry_after_ms=").filter(|_| code == 1001)?.1;
    wait.parse::<u16>().ok().map(|wait| Duration::from_millis(wait.into()))
}

impl Socket {
    /// Sends an event.
    pub(super) async fn send(&mut self, event: &str, data: impl Serialize, req_id: Option<u64>) -> Result<(), ClientError> {
        #[derive(Serialize)]
        struct Frame<'a, T> {
            event: &'a str,
            data: T,
            #[serde(skip_serializing_if = "Option::is_none")]
            req_id: Option<String>,
        }
        let frame = Frame { event, data, req_id: req_id.map(|id| id.to_string()) };
        let text = serde_json::to_string(&frame).map_err(|e| ClientError::Invalid(e.to_string()))?;
        match timeout(WRITE_TIMEOUT, self.ws.send(Message::text(text))).await {
            Ok(result) => result.map_err(ClientError::transport),
            Err(_) => Err(ClientError::Timeout(WRITE_TIMEOUT)),
        }
    }

    /// What comes next. After [`Received::Closed`] nothing does.
    pub(super) async fn receive(&mut self) -> Received {
        match self.ws.next().await {
            Some(Ok(message)) => match (message.as_text(), message.as_close()) {
                (Some(text), _) => Received::Text(text.to_owned()),
                (_, Some((code, reason))) => Received::Closed { code: Some(code.into()), reason: reason.to_owned() },
                _ => Received::Life,
            },
            Some(Err(error)) => Received::Closed { code: None, reason: error.to_string() },
            None => Received::Closed { code: None, reason: "the connection broke".to_owned() },
        }
    }

    /// Closes it in order, as far as the server takes part.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            self.ws.send(Message::close(Some(CloseCode::NORMAL_CLOSURE), "")).await?;
            while let Some(Ok(_)) = self.ws.next().await {}
            Ok::<_, WsError>(())
        };
        // A server that is gone already has nothing to be told.
        let _ = timeout(Duration::from_secs(1), goodbye).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_goes_says_when_to_come_back() {
        let wait = |code, reason| advised(code, reason).map(|wait| wait.as_millis());
        assert_eq!(wait(1001, "server is shutting down; retry_after_ms=4211"), Some(4211));
        for (code, reason) in
            [(1001, ""), (1001, "server is shutting down"), (1001, "retry_after_ms=-1"), (1001, "retry_after_ms=99999"), (4008, "retry_after_ms=1")]
        {
            assert_eq!(wait(code, reason), None, "{code} {reason}");
        }
    }
}
