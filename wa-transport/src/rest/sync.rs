//! Catching up after a gap (contract, section 3.5).

use axum::extract::State;
use wa_core::api::{SyncAnswer, SyncRequest};

use super::Shared;
use super::envelope::{Answer, Envelope, Reply};
use super::extract::{Auth, Json};

/// What the caller missed: send the rev of each chat you hold, repeat with the returned revs while `complete` is false.
#[utoipa::path(post, path = "/sync", tag = "messages", request_body = SyncRequest, responses((status = 200, description = "What was missed", body = Envelope<SyncAnswer>)))]
pub(super) async fn sync(State(rest): State<Shared>, Auth(caller): Auth, Json(request): Json<SyncRequest>) -> Answer<SyncAnswer> {
    Ok(Reply::ok(rest.backend.messages.sync(&caller, request).await?))
}
