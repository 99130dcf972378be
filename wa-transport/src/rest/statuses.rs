//! What people show their contacts for a day (contract, section 1.2).

use axum::extract::State;
use axum::http::StatusCode;
use wa_core::api::NewStatus;
use wa_core::id::StatusId;
use wa_core::status_post::StatusView;

use super::Shared;
use super::envelope::{Answer, Done, Envelope, Reply};
use super::extract::{Auth, Json, Path};

/// What the caller's mutual contacts show, newest first.
#[utoipa::path(get, path = "/users/statuses", operation_id = "list_statuses", tag = "statuses",
    responses((status = 200, description = "The statuses; `viewers` is empty", body = Envelope<Vec<StatusView>>)))]
pub(super) async fn of_contacts(State(rest): State<Shared>, Auth(caller): Auth) -> Answer<Vec<StatusView>> {
    Ok(Reply::ok(rest.backend.statuses.of_contacts(&caller).await?))
}

/// Shows a status to the caller's mutual contacts for 24 hours.
#[utoipa::path(post, path = "/users/statuses", operation_id = "post_status", tag = "statuses", request_body = NewStatus,
    responses((status = 201, description = "The status", body = Envelope<StatusView>), (status = 409, description = "CONFLICT: as many as one can show")))]
pub(super) async fn post(State(rest): State<Shared>, Auth(caller): Auth, Json(new): Json<NewStatus>) -> Answer<StatusView> {
    Ok(Reply::created(true, rest.backend.statuses.post(&caller, new).await?))
}

/// The caller's own statuses, newest first, with who has seen them.
#[utoipa::path(get, path = "/users/statuses/me", operation_id = "list_own_statuses", tag = "statuses",
    responses((status = 200, description = "The statuses", body = Envelope<Vec<StatusView>>)))]
pub(super) async fn own(State(rest): State<Shared>, Auth(caller): Auth) -> Answer<Vec<StatusView>> {
    Ok(Reply::ok(rest.backend.statuses.own(&caller).await?))
}

/// Takes one of the caller's own statuses back.
#[utoipa::path(delete, path = "/users/statuses/{id}", operation_id = "delete_status", tag = "statuses", params(("id" = StatusId, Path, description = "The status")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "NOT_FOUND: none of the caller's")))]
pub(super) async fn delete(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<StatusId>) -> Done {
    rest.backend.statuses.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells the owner that the caller has seen it; repeating it changes nothing.
#[utoipa::path(post, path = "/users/statuses/{id}/view", operation_id = "view_status", tag = "statuses", params(("id" = StatusId, Path, description = "The status")),
    responses((status = 204, description = "Noted"), (status = 404, description = "NOT_FOUND")))]
pub(super) async fn view(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<StatusId>) -> Done {
    rest.backend.statuses.view(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
