//! What a refused upload still sends is read and dropped, within bounds: a server that answers and closes while data is under
//! way makes the client's stack drop the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::oneshot;

use super::middleware::is_upload;

/// Bytes that are still read, and how long that may take.
const DRAINED: usize = 128 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(20);

/// Once nothing came for so long, nothing is under way.
const QUIET: Duration = Duration::from_secs(1);

/// A body that comes back from whoever was to read it, and whether they began to.
struct Lent {
    body: Option<BodyDataStream>,
    begun: bool,
    back: Option<oneshot::Sender<(BodyDataStream, bool)>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begun = true;
        self.body.as_mut().map_or(Poll::Ready(None), |body| body.poll_next_unpin(context))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            let _ = back.send((body, self.begun));
        }
    }
}

/// Lets an upload be answered, whoever refuses it and however little of it was read by then.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    if !is_upload(&request) {
        return next.run(request).await;
    }
    // Such a client waits with its body until it is asked for.
    let waits = request.headers().get(header::EXPECT).is_some();
    let (back, mut left) = oneshot::channel();
    let request = request.map(|body| Body::from_stream(Lent { body: Some(body.into_data_stream()), begun: false, back: Some(back) }));
    let response = next.run(request).await;
    if response.status().is_success() {
        return response;
    }
    if let Some((mut body, _)) = left.try_recv().ok().filter(|(_, begun)| *begun || !waits) {
        let all = async {
            let mut read = 0;
            while let Ok(Some(Ok(piece))) = tokio::time::timeout(QUIET, body.next()).await {
                read += piece.len();
                if read > DRAINED {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(DRAINED_WITHIN, all).await;
    }
    response
}
