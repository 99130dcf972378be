//! What becomes of messages (contract, section 1.4): editing, deleting, forwarding, reactions, stars.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use wa_core::api::{ForwardMessage, ForwardedMessage, MessagePage};
use wa_core::error::Error;
use wa_core::id::{ChatId, MessageId};
use wa_core::message::MessageView;

use super::Shared;
use super::envelope::{Answer, Done, Envelope, Reply};
use super::extract::{Auth, Json, Path, Query, filled, idempotency_key, whole};

/// What a message is to say.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewPayload {
    /// `body` (and `mentions`) of a text, `caption` of an image, video or document; null takes a caption away.
    #[schema(value_type = Object, example = json!({"body": "hello again"}))]
    payload: Value,
}

/// Edits the text or caption of one of the caller's own messages, within 15 minutes.
#[utoipa::path(patch, path = "/messages/{id}", operation_id = "edit_message", tag = "messages", params(("id" = MessageId, Path, description = "The message")), request_body = NewPayload, responses(
    (status = 200, description = "The message as it is now", body = Envelope<MessageView>),
    (status = 403, description = "FORBIDDEN: another's message, or too late; NOT_CHAT_MEMBER, USER_BLOCKED"),
    (status = 404, description = "MESSAGE_NOT_FOUND"),
    (status = 409, description = "CONFLICT: it was deleted")))]
pub(super) async fn edit(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MessageId>, Json(request): Json<NewPayload>) -> Answer<MessageView> {
    Ok(Reply::ok(rest.backend.messages.edit(&caller, id, &request.payload, None).await?))
}

/// For whom a message is to be deleted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// `me` or `everyone`; `me` if absent.
    #[serde(default, rename = "for", deserialize_with = "filled")]
    #[param(value_type = Option<String>, example = "everyone")]
    audience: Option<String>,
}

/// Deletes a message: for the caller alone, or for everyone, which leaves a tombstone. Repeating it changes nothing.
#[utoipa::path(delete, path = "/messages/{id}", operation_id = "delete_message", tag = "messages", params(("id" = MessageId, Path, description = "The message"), DeleteQuery), responses(
    (status = 204, description = "Deleted"),
    (status = 403, description = "FORBIDDEN: neither its sender nor an admin of the group; NOT_CHAT_MEMBER"),
    (status = 404, description = "MESSAGE_NOT_FOUND"),
    (status = 422, description = "VALIDATION_ERROR: for is neither me nor everyone")))]
pub(super) async fn delete(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MessageId>, Query(query): Query<DeleteQuery>) -> Done {
    match query.audience.as_deref() {
        None | Some("me") => rest.backend.messages.delete_for_me(&caller, id, None).await?,
        Some("everyone") => rest.backend.messages.delete_for_everyone(&caller, id, None).await?,
        Some(_) => return Err(Error::invalid("for", "must be me or everyone").into()),
    };
    Ok(StatusCode::NO_CONTENT)
}

/// Where a message is to be sent on to.
#[derive(Deserialize, ToSchema)]
pub(super) struct Targets {
    /// 1 to 20 chats.
    target_chat_ids: Vec<ChatId>,
}

/// The messages made by forwarding.
#[derive(Serialize, ToSchema)]
pub(super) struct ForwardedMessages {
    /// In the order of the request.
    forwarded_messages: Vec<ForwardedMessage>,
}

/// Sends a message on to other chats: to all of them or, if one does not allow it, to none.
#[utoipa::path(post, path = "/messages/{id}/forward", operation_id = "forward_message", tag = "messages", params(
    ("id" = MessageId, Path, description = "The message"),
    ("Idempotency-Key" = Option<String>, Header, description = "Names the request: repeated with it, nothing is sent twice")), request_body = Targets, responses(
    (status = 201, description = "The new messages", body = Envelope<ForwardedMessages>),
    (status = 403, description = "FORBIDDEN, NOT_CHAT_MEMBER, USER_BLOCKED: a target does not allow it"),
    (status = 404, description = "MESSAGE_NOT_FOUND, CHAT_NOT_FOUND"),
    (status = 409, description = "CONFLICT: it was deleted")))]
pub(super) async fn forward(
    State(rest): State<Shared>,
    Auth(caller): Auth,
    Path(message_id): Path<MessageId>,
    headers: HeaderMap,
    Json(request): Json<Targets>,
) -> Answer<ForwardedMessages> {
    let key = idempotency_key(&headers)?.map(str::to_owned);
    let forward = ForwardMessage { message_id, target_chat_ids: request.target_chat_ids, key };
    let forwarded_messages = rest.backend.messages.forward(&caller, forward).await?;
    rest.backend.metrics.messages_persisted().inc_by(forwarded_messages.len() as u64);
    Ok(Reply::created(true, ForwardedMessages { forwarded_messages }))
}

/// A reaction.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewReaction {
    /// One emoji of at most 32 bytes.
    #[schema(example = "👍")]
    emoji: String,
}

/// Reacts to a message, in place of the caller's reaction before.
#[utoipa::path(post, path = "/messages/{id}/react", tag = "messages", params(("id" = MessageId, Path, description = "The message")), request_body = NewReaction, responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER, USER_BLOCKED"),
    (status = 404, description = "MESSAGE_NOT_FOUND"),
    (status = 409, description = "CONFLICT: it was deleted")))]
pub(super) async fn react(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MessageId>, Json(request): Json<NewReaction>) -> Done {
    rest.backend.messages.react(&caller, id, Some(request.emoji), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the caller's reaction back.
#[utoipa::path(delete, path = "/messages/{id}/react", tag = "messages", params(("id" = MessageId, Path, description = "The message")), responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "MESSAGE_NOT_FOUND")))]
pub(super) async fn unreact(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MessageId>) -> Done {
    rest.backend.messages.react(&caller, id, None, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stars a message for the caller alone.
#[utoipa::path(post, path = "/messages/{id}/star", tag = "messages", params(("id" = MessageId, Path, description = "The message")), responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "MESSAGE_NOT_FOUND"),
    (status = 409, description = "CONFLICT: it was deleted")))]
pub(super) async fn star(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MessageId>) -> Done {
    rest.backend.messages.star(&caller, id, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the caller's star back.
#[utoipa::path(delete, path = "/messages/{id}/star", tag = "messages", params(("id" = MessageId, Path, description = "The message")), responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "MESSAGE_NOT_FOUND")))]
pub(super) async fn unstar(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MessageId>) -> Done {
    rest.backend.messages.star(&caller, id, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which page of the starred messages.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StarredQuery {
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "filled")]
    #[param(value_type = Option<String>)]
    cursor: Option<String>,
    /// Messages of the page; held within 1 to 100, 20 if absent.
    #[serde(default, deserialize_with = "whole")]
    #[param(value_type = Option<i64>)]
    limit: Option<i64>,
}

/// The caller's starred messages that they still may see, newest star first.
#[utoipa::path(get, path = "/messages/starred", operation_id = "list_starred", tag = "messages", params(StarredQuery), responses(
    (status = 200, description = "A page of messages", body = Envelope<MessagePage>)))]
pub(super) async fn starred(State(rest): State<Shared>, Auth(caller): Auth, Query(query): Query<StarredQuery>) -> Answer<MessagePage> {
    Ok(Reply::ok(rest.backend.messages.starred(&caller, query.cursor, query.limit).await?))
}
