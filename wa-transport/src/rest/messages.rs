//! Messages (contract, section 1.4): sending, history, receipts. What becomes of them is in `changes`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use wa_core::api::{HistoryQuery, MessagePage, SendMessage};
use wa_core::id::{ChatId, MessageId};
use wa_core::message::MessageView;
use wa_core::receipt::ReceiptView;

use super::Shared;
use super::envelope::{Answer, Done, Envelope, Reply};
use super::extract::{Auth, Json, Path, Query, filled, whole};

/// A message to be sent.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// The sender's own key, 1 to 128 characters; repeating a request with it sends nothing twice.
    client_msg_id: String,
    /// `text`, `image`, `video`, `audio`, `document` or `location`.
    #[serde(rename = "type")]
    #[schema(example = "text")]
    kind: String,
    /// Depends on the type.
    #[schema(value_type = Object, example = json!({"body": "hello"}))]
    payload: Value,
    /// The message it answers.
    reply_to_message_id: Option<MessageId>,
}

/// Sends a message. When this answers, it is durable.
#[utoipa::path(post, path = "/chats/{id}/messages", operation_id = "send_message", tag = "messages", params(("id" = ChatId, Path, description = "The chat")), request_body = NewMessage, responses(
    (status = 201, description = "The new message", body = Envelope<MessageView>),
    (status = 200, description = "The message stored before under this client_msg_id", body = Envelope<MessageView>),
    (status = 403, description = "NOT_CHAT_MEMBER, USER_BLOCKED"),
    (status = 404, description = "CHAT_NOT_FOUND"),
    (status = 409, description = "CONFLICT: the client_msg_id was used for another message")))]
pub(super) async fn send(State(rest): State<Shared>, Auth(caller): Auth, Path(chat_id): Path<ChatId>, Json(request): Json<NewMessage>) -> Answer<MessageView> {
    let NewMessage { client_msg_id, kind, payload, reply_to_message_id } = request;
    let message = SendMessage { chat_id, client_msg_id, kind, payload, reply_to_message_id, origin: None };
    let sent = rest.backend.messages.send(&caller, message).await?;
    if !sent.duplicate {
        rest.backend.metrics.messages_persisted().inc();
    }
    Ok(Reply::created(!sent.duplicate, sent.message))
}

/// Which page of a chat's history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Older than this message.
    #[serde(default, deserialize_with = "filled")]
    #[param(value_type = Option<MessageId>)]
    cursor: Option<MessageId>,
    /// Newer than this place, oldest first; takes precedence over the cursor.
    #[serde(default, deserialize_with = "whole")]
    #[param(value_type = Option<i64>)]
    after_seq: Option<i64>,
    /// Messages of the page; held within 1 to 100, 50 if absent.
    #[serde(default, deserialize_with = "whole")]
    #[param(value_type = Option<i64>)]
    limit: Option<i64>,
}

/// A page of a chat's history: newest first, or oldest first with `after_seq`.
#[utoipa::path(get, path = "/chats/{id}/messages", operation_id = "list_messages", tag = "messages", params(("id" = ChatId, Path, description = "The chat"), PageQuery), responses(
    (status = 200, description = "A page of messages", body = Envelope<MessagePage>),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "CHAT_NOT_FOUND")))]
pub(super) async fn history(State(rest): State<Shared>, Auth(caller): Auth, Path(chat): Path<ChatId>, Query(query): Query<PageQuery>) -> Answer<MessagePage> {
    let PageQuery { cursor, after_seq, limit } = query;
    Ok(Reply::ok(rest.backend.messages.history(&caller, chat, HistoryQuery { cursor, after_seq, limit }).await?))
}

/// How far the caller has read.
#[derive(Deserialize, ToSchema)]
pub(super) struct ReadUpTo {
    /// The newest message read.
    up_to_message_id: MessageId,
}

/// Marks everything up to a message as read.
#[utoipa::path(post, path = "/chats/{id}/messages/read", tag = "messages", params(("id" = ChatId, Path, description = "The chat")), request_body = ReadUpTo, responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "CHAT_NOT_FOUND, MESSAGE_NOT_FOUND")))]
pub(super) async fn mark_read(State(rest): State<Shared>, Auth(caller): Auth, Path(chat): Path<ChatId>, Json(request): Json<ReadUpTo>) -> Done {
    rest.backend.messages.mark_read(&caller, Some(chat), Some(request.up_to_message_id), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far a message got with each recipient.
#[utoipa::path(get, path = "/messages/{id}/receipts", operation_id = "list_receipts", tag = "messages", params(("id" = MessageId, Path, description = "The message")), responses(
    (status = 200, description = "A row for each recipient", body = Envelope<Vec<ReceiptView>>),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "MESSAGE_NOT_FOUND")))]
pub(super) async fn receipts(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MessageId>) -> Answer<Vec<ReceiptView>> {
    Ok(Reply::ok(rest.backend.messages.receipts(&caller, id).await?))
}
