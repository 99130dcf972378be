//! Search (contract, section 1.4): in a chat, and through all of the caller's. What is searched for shows in no log: the
//! access log names routes, not queries.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use wa_core::api::{SearchPage, SearchRequest};
use wa_core::id::ChatId;
use wa_core::session::Caller;

use super::Shared;
use super::envelope::{Answer, Envelope, Reply};
use super::extract::{Auth, Path, Query, filled, whole};

/// What is searched for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// Words that must all occur, `"in quotes"` in this order, `wor*` as a beginning; the last word counts as a beginning
    /// while nothing follows it. At most 256 characters.
    #[serde(default)]
    #[param(example = "old station")]
    pub(super) q: String,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "filled")]
    #[param(value_type = Option<String>)]
    pub(super) cursor: Option<String>,
    /// Results of the page; held within 1 to 100, 20 if absent.
    #[serde(default, deserialize_with = "whole")]
    #[param(value_type = Option<i64>)]
    pub(super) limit: Option<i64>,
}

/// Searches the messages of a chat, best first.
#[utoipa::path(get, path = "/chats/{id}/messages/search", operation_id = "search_chat", tag = "messages", params(("id" = ChatId, Path, description = "The chat"), SearchQuery), responses(
    (status = 200, description = "A page of results", body = Envelope<SearchPage>),
    (status = 403, description = "NOT_CHAT_MEMBER"),
    (status = 404, description = "CHAT_NOT_FOUND"),
    (status = 422, description = "VALIDATION_ERROR: q is empty or too long")))]
pub(super) async fn in_chat(State(rest): State<Shared>, Auth(caller): Auth, Path(chat): Path<ChatId>, Query(query): Query<SearchQuery>) -> Answer<SearchPage> {
    Ok(Reply::ok(search(&rest, &caller, Some(chat), query).await?))
}

/// Searches the messages of all the caller's chats, best first.
#[utoipa::path(get, path = "/messages/search", operation_id = "search_messages", tag = "messages", params(SearchQuery), responses(
    (status = 200, description = "A page of results", body = Envelope<SearchPage>),
    (status = 422, description = "VALIDATION_ERROR: q is empty or too long")))]
pub(super) async fn everywhere(State(rest): State<Shared>, Auth(caller): Auth, Query(query): Query<SearchQuery>) -> Answer<SearchPage> {
    Ok(Reply::ok(search(&rest, &caller, None, query).await?))
}

/// Asks the core.
pub(super) async fn search(rest: &Shared, caller: &Caller, chat: Option<ChatId>, query: SearchQuery) -> wa_core::Result<SearchPage> {
    let SearchQuery { q, cursor, limit } = query;
    rest.backend.messages.search(caller, SearchRequest { chat, query: q, cursor, limit }).await
}
