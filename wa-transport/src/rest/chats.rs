//! Chats (contract, section 1.3): making and listing them, and what a participant sets for themselves.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use wa_core::api::{ChatPage, CreateGroup};
use wa_core::chat::ChatView;
use wa_core::error::Error;
use wa_core::id::{ChatId, UserId};
use wa_core::time::Timestamp;

use super::Shared;
use super::envelope::{Answer, Done, Envelope, Reply};
use super::extract::{Auth, Json, Path, Query, filled, whole};

/// A chat to be made.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewChat {
    /// `direct` or `group`.
    #[serde(rename = "type")]
    #[schema(example = "direct")]
    kind: String,
    /// Of a direct chat: the other person.
    #[schema(nullable = false)]
    participant_id: Option<UserId>,
    /// Of a group: its name, 1 to 100 characters.
    name: Option<String>,
    /// Of a group: what it is for, up to 512 characters.
    description: Option<String>,
    /// Of a group: who is in it beside the caller. Oneself and repeats are ignored.
    participant_ids: Option<Vec<UserId>>,
}

/// Makes a group, or the direct chat with a user if there is none.
#[utoipa::path(post, path = "/chats", operation_id = "create_chat", tag = "chats", request_body = NewChat, responses(
    (status = 201, description = "The new chat", body = Envelope<ChatView>),
    (status = 200, description = "The direct chat that was there", body = Envelope<ChatView>),
    (status = 403, description = "FORBIDDEN: a block stands between the caller and one of the others"),
    (status = 404, description = "USER_NOT_FOUND"),
    (status = 409, description = "GROUP_FULL")))]
pub(super) async fn create(State(rest): State<Shared>, Auth(caller): Auth, Json(request): Json<NewChat>) -> Answer<ChatView> {
    let required = |field| Error::invalid(field, "is required");
    match request.kind.as_str() {
        "direct" => {
            let participant = request.participant_id.ok_or_else(|| required("participant_id"))?;
            let (chat, is_new) = rest.backend.chats.create_direct(&caller, participant).await?;
            Ok(Reply::created(is_new, chat))
        }
        "group" => {
            let group = CreateGroup {
                name: request.name.ok_or_else(|| required("name"))?,
                description: request.description.unwrap_or_default(),
                participant_ids: request.participant_ids.ok_or_else(|| required("participant_ids"))?,
            };
            Ok(Reply::created(true, rest.backend.chats.create_group(&caller, group).await?))
        }
        _ => Err(Error::invalid("type", "must be direct or group").into()),
    }
}

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "filled")]
    #[param(value_type = Option<String>)]
    cursor: Option<String>,
    /// Entries of the page; held within 1 to 100, 20 if absent.
    #[serde(default, deserialize_with = "whole")]
    #[param(value_type = Option<i64>)]
    limit: Option<i64>,
}

/// The caller's chats: pinned first, then newest activity. Groups are listed without their participants.
#[utoipa::path(get, path = "/chats", operation_id = "list_chats", tag = "chats", params(ListQuery), responses((status = 200, description = "A page of chats", body = Envelope<ChatPage>)))]
pub(super) async fn list(State(rest): State<Shared>, Auth(caller): Auth, Query(query): Query<ListQuery>) -> Answer<ChatPage> {
    Ok(Reply::ok(rest.backend.chats.list(&caller, query.cursor.as_deref(), query.limit).await?))
}

/// One chat with its participants.
#[utoipa::path(get, path = "/chats/{id}", operation_id = "get_chat", tag = "chats", params(("id" = ChatId, Path, description = "The chat")), responses(
    (status = 200, description = "The chat", body = Envelope<ChatView>),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "CHAT_NOT_FOUND")))]
pub(super) async fn get(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>) -> Answer<ChatView> {
    Ok(Reply::ok(rest.backend.chats.get(&caller, id).await?))
}

/// Whether a chat notifies the caller.
#[derive(Deserialize, ToSchema)]
pub(super) struct Mute {
    /// Whether it is to be silent.
    is_muted: bool,
    /// Until when; null or absent: for ever.
    mute_until: Option<Timestamp>,
}

/// Mutes a chat for the caller, or ends the mute.
#[utoipa::path(patch, path = "/chats/{id}/mute", operation_id = "mute_chat", tag = "chats", params(("id" = ChatId, Path, description = "The chat")), request_body = Mute, responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "CHAT_NOT_FOUND")))]
pub(super) async fn mute(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>, Json(request): Json<Mute>) -> Done {
    rest.backend.chats.mute(&caller, id, request.is_muted, request.mute_until).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a chat stays on top of the caller's list.
#[derive(Deserialize, ToSchema)]
pub(super) struct Pin {
    /// Whether it is to stay on top.
    is_pinned: bool,
}

/// Pins or unpins a chat for the caller.
#[utoipa::path(put, path = "/chats/{id}/pin", operation_id = "pin_chat", tag = "chats", params(("id" = ChatId, Path, description = "The chat")), request_body = Pin, responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "CHAT_NOT_FOUND")))]
pub(super) async fn pin(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>, Json(request): Json<Pin>) -> Done {
    rest.backend.chats.pin(&caller, id, request.is_pinned).await?;
    Ok(StatusCode::NO_CONTENT)
}
