//! Groups (contract, section 1.3): their properties, members, roles and invites, and the timer of any chat.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wa_core::chat::{AutoDeleteTimer, ChatView, Role};
use wa_core::group::ProfileChange;
use wa_core::id::{ChatId, UserId};

use super::Shared;
use super::envelope::{Answer, Done, Envelope, Reply};
use super::extract::{Auth, Json, Path};

/// Changes a group; what is absent stays as it is.
#[utoipa::path(patch, path = "/chats/{id}", operation_id = "update_chat", tag = "groups", params(("id" = ChatId, Path, description = "The group")), request_body = ProfileChange, responses(
    (status = 200, description = "The group as it is now", body = Envelope<ChatView>),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN"),
    (status = 404, description = "CHAT_NOT_FOUND"),
    (status = 422, description = "VALIDATION_ERROR, also for a direct chat")))]
pub(super) async fn update(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>, Json(change): Json<ProfileChange>) -> Answer<ChatView> {
    Ok(Reply::ok(rest.backend.chats.update(&caller, id, change).await?))
}

/// Who is to be added.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewMembers {
    /// Them; oneself, repeats and present members are ignored.
    user_ids: Vec<UserId>,
}

/// Adds people to a group.
#[utoipa::path(post, path = "/chats/{id}/participants", operation_id = "add_participants", tag = "groups", params(("id" = ChatId, Path, description = "The group")), request_body = NewMembers, responses(
    (status = 204, description = "Added"),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN, FORBIDDEN: a block stands between"),
    (status = 404, description = "CHAT_NOT_FOUND, USER_NOT_FOUND"),
    (status = 409, description = "ALREADY_MEMBER: nobody is left to add; GROUP_FULL"),
    (status = 422, description = "VALIDATION_ERROR, also for a direct chat")))]
pub(super) async fn add(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>, Json(request): Json<NewMembers>) -> Done {
    rest.backend.chats.add_members(&caller, id, &request.user_ids).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes somebody from a group, or leaves it oneself.
#[utoipa::path(delete, path = "/chats/{id}/participants/{user_id}", operation_id = "remove_participant", tag = "groups", params(("id" = ChatId, Path, description = "The group"), ("user_id" = UserId, Path, description = "Who; the caller, to leave")), responses(
    (status = 204, description = "Gone"),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN"),
    (status = 404, description = "CHAT_NOT_FOUND, USER_NOT_FOUND: they are not in the group"),
    (status = 422, description = "VALIDATION_ERROR: this is a direct chat")))]
pub(super) async fn remove(State(rest): State<Shared>, Auth(caller): Auth, Path((id, user)): Path<(ChatId, UserId)>) -> Done {
    rest.backend.chats.remove_member(&caller, id, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What somebody is to be.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewRole {
    /// `admin` or `member`.
    role: Role,
}

/// Makes a member an admin, or an admin a member.
#[utoipa::path(patch, path = "/chats/{id}/participants/{user_id}/role", operation_id = "set_role", tag = "groups", params(("id" = ChatId, Path, description = "The group"), ("user_id" = UserId, Path, description = "Who")), request_body = NewRole, responses(
    (status = 204, description = "Done"),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN"),
    (status = 404, description = "CHAT_NOT_FOUND, USER_NOT_FOUND: they are not in the group"),
    (status = 409, description = "LAST_ADMIN"),
    (status = 422, description = "VALIDATION_ERROR, also for a direct chat")))]
pub(super) async fn set_role(State(rest): State<Shared>, Auth(caller): Auth, Path((id, user)): Path<(ChatId, UserId)>, Json(request): Json<NewRole>) -> Done {
    rest.backend.chats.set_role(&caller, id, user, request.role).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// When messages of a chat disappear.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct Timer {
    /// `off`, `24h`, `7d` or `90d` after sending.
    timer: AutoDeleteTimer,
}

/// Sets when messages sent from now on disappear: anybody in a direct chat, admins in a group.
#[utoipa::path(put, path = "/chats/{id}/disappearing", operation_id = "set_timer", tag = "chats", params(("id" = ChatId, Path, description = "The chat")), request_body = Timer, responses(
    (status = 200, description = "The timer", body = Envelope<Timer>),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN, USER_BLOCKED"),
    (status = 404, description = "CHAT_NOT_FOUND")))]
pub(super) async fn set_timer(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>, Json(request): Json<Timer>) -> Answer<Timer> {
    rest.backend.chats.set_timer(&caller, id, request.timer).await?;
    Ok(Reply::ok(request))
}

/// An invite into a group.
#[derive(Serialize, ToSchema)]
pub(super) struct Invite {
    /// What `POST /chats/join` takes.
    code: String,
    /// Where a person follows it. The code stands behind the `#`, so that no server logs it.
    url: String,
}

/// Makes an invite, which revokes the one before.
#[utoipa::path(post, path = "/chats/{id}/invite", operation_id = "create_invite", tag = "groups", params(("id" = ChatId, Path, description = "The group")), responses(
    (status = 201, description = "The invite", body = Envelope<Invite>),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN"),
    (status = 404, description = "CHAT_NOT_FOUND"),
    (status = 422, description = "VALIDATION_ERROR: this is a direct chat")))]
pub(super) async fn create_invite(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>, headers: HeaderMap) -> Answer<Invite> {
    let code = rest.backend.chats.create_invite(&caller, id).await?;
    let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(|host| format!("http://{host}"));
    let base = rest.public_url.clone().or_else(host).unwrap_or_default();
    Ok(Reply::created(true, Invite { url: format!("{base}/#join={code}"), code }))
}

/// Revokes the invite, if there is one.
#[utoipa::path(delete, path = "/chats/{id}/invite", operation_id = "revoke_invite", tag = "groups", params(("id" = ChatId, Path, description = "The group")), responses(
    (status = 204, description = "Revoked"),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN"),
    (status = 404, description = "CHAT_NOT_FOUND"),
    (status = 422, description = "VALIDATION_ERROR: this is a direct chat")))]
pub(super) async fn revoke_invite(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>) -> Done {
    rest.backend.chats.revoke_invite(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An invite to be followed.
#[derive(Deserialize, ToSchema)]
pub(super) struct Join {
    /// Its code.
    code: String,
}

/// Comes into a group by an invite; who is in already finds it.
#[utoipa::path(post, path = "/chats/join", operation_id = "join_chat", tag = "groups", request_body = Join, responses(
    (status = 200, description = "The group", body = Envelope<ChatView>),
    (status = 404, description = "NOT_FOUND: the code is unknown or was revoked"),
    (status = 409, description = "GROUP_FULL")))]
pub(super) async fn join(State(rest): State<Shared>, Auth(caller): Auth, Json(request): Json<Join>) -> Answer<ChatView> {
    Ok(Reply::ok(rest.backend.chats.join(&caller, &request.code).await?))
}
