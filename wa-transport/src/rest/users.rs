//! Profiles, contacts, blocks, presence and privacy (contract, section 1.2).

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wa_core::api::PrivacyUpdate;
use wa_core::id::UserId;
use wa_core::privacy::PrivacySettings;
use wa_core::user::{ContactView, PresenceView, Profile, ProfileUpdate, RegisteredUser};

use super::Shared;
use super::envelope::{Answer, Done, Envelope, Reply};
use super::extract::{Auth, Json, Path};

/// The caller's own profile.
#[utoipa::path(get, path = "/users/me", operation_id = "get_me", tag = "users", responses((status = 200, description = "The profile", body = Envelope<Profile>)))]
pub(super) async fn me(State(rest): State<Shared>, Auth(caller): Auth) -> Answer<Profile> {
    Ok(Reply::ok(rest.backend.users.me(&caller).await?))
}

/// Changes the caller's profile; what is absent or null stays as it is.
#[utoipa::path(patch, path = "/users/me", tag = "users", request_body = ProfileUpdate, responses((status = 200, description = "The new profile", body = Envelope<Profile>)))]
pub(super) async fn update_me(State(rest): State<Shared>, Auth(caller): Auth, Json(update): Json<ProfileUpdate>) -> Answer<Profile> {
    Ok(Reply::ok(rest.backend.users.update_me(&caller, update).await?))
}

/// That the caller means it.
#[derive(Deserialize, ToSchema)]
pub(super) struct AccountDeletion {
    /// The caller's own phone.
    #[schema(example = "+15550100001")]
    confirm: String,
}

/// Erases the caller's account.
#[utoipa::path(delete, path = "/users/me", tag = "users", request_body = AccountDeletion, responses((status = 204, description = "Erased")))]
pub(super) async fn delete_me(State(rest): State<Shared>, Auth(caller): Auth, Json(request): Json<AccountDeletion>) -> Done {
    rest.backend.users.delete_me(&caller, &request.confirm).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Another user's profile, filtered by their privacy.
#[utoipa::path(get, path = "/users/{id}", operation_id = "get_user", tag = "users", params(("id" = UserId, Path, description = "The user")),
    responses((status = 200, description = "The profile", body = Envelope<Profile>), (status = 404, description = "USER_NOT_FOUND")))]
pub(super) async fn profile(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<UserId>) -> Answer<Profile> {
    Ok(Reply::ok(rest.backend.users.profile(&caller, id).await?))
}

/// The caller's address book.
#[derive(Deserialize, ToSchema)]
pub(super) struct ContactSync {
    /// 1 to 1,000 numbers; those that are none are skipped.
    phone_numbers: Vec<String>,
}

/// Who of an address book is here.
#[derive(Serialize, ToSchema)]
pub(super) struct RegisteredUsers {
    registered_users: Vec<RegisteredUser>,
}

/// Finds users by phone and puts them into the caller's contacts.
#[utoipa::path(post, path = "/users/contacts/sync", tag = "users", request_body = ContactSync,
    responses((status = 200, description = "Those who are users", body = Envelope<RegisteredUsers>)))]
pub(super) async fn sync_contacts(State(rest): State<Shared>, Auth(caller): Auth, Json(request): Json<ContactSync>) -> Answer<RegisteredUsers> {
    rest.take("contacts_sync", &caller.user_id, rest.backend.limits.contacts_sync).await?;
    let registered_users = rest.backend.users.sync_contacts(&caller, &request.phone_numbers).await?;
    Ok(Reply::ok(RegisteredUsers { registered_users }))
}

/// The caller's contacts and blocked users.
#[utoipa::path(get, path = "/users/contacts", operation_id = "list_contacts", tag = "users", responses((status = 200, description = "The contacts", body = Envelope<Vec<ContactView>>)))]
pub(super) async fn contacts(State(rest): State<Shared>, Auth(caller): Auth) -> Answer<Vec<ContactView>> {
    Ok(Reply::ok(rest.backend.users.contacts(&caller).await?))
}

/// Blocks a user; repeating it changes nothing.
#[utoipa::path(post, path = "/users/{id}/block", operation_id = "block_user", tag = "users", params(("id" = UserId, Path, description = "The user")),
    responses((status = 204, description = "Blocked"), (status = 400, description = "BAD_REQUEST: oneself"), (status = 404, description = "USER_NOT_FOUND")))]
pub(super) async fn block(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<UserId>) -> Done {
    rest.backend.users.set_blocked(&caller, id, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unblocks a user; repeating it changes nothing.
#[utoipa::path(delete, path = "/users/{id}/block", operation_id = "unblock_user", tag = "users", params(("id" = UserId, Path, description = "The user")),
    responses((status = 204, description = "Not blocked"), (status = 400, description = "BAD_REQUEST: oneself"), (status = 404, description = "USER_NOT_FOUND")))]
pub(super) async fn unblock(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<UserId>) -> Done {
    rest.backend.users.set_blocked(&caller, id, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a user is online, and since when not, as far as they show it.
#[utoipa::path(get, path = "/users/{id}/presence", operation_id = "get_presence", tag = "users", params(("id" = UserId, Path, description = "The user")),
    responses((status = 200, description = "The presence", body = Envelope<PresenceView>), (status = 404, description = "USER_NOT_FOUND")))]
pub(super) async fn presence(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<UserId>) -> Answer<PresenceView> {
    // Presence knows no unknown users, only hidden ones; the profile's route tells them apart, and so does this one.
    rest.backend.users.profile(&caller, id).await?;
    let seen = rest.backend.presence.see(&caller, &[id]).await?;
    Ok(Reply::ok(seen.into_iter().next().unwrap_or(PresenceView::hidden(id))))
}

/// The caller's privacy settings.
#[utoipa::path(get, path = "/users/me/privacy", operation_id = "get_privacy", tag = "users", responses((status = 200, description = "The settings", body = Envelope<PrivacySettings>)))]
pub(super) async fn privacy(State(rest): State<Shared>, Auth(caller): Auth) -> Answer<PrivacySettings> {
    Ok(Reply::ok(rest.backend.users.privacy(&caller).await?))
}

/// Changes the caller's privacy settings; what is absent or null stays as it is.
#[utoipa::path(put, path = "/users/me/privacy", tag = "users", request_body = PrivacyUpdate, responses((status = 200, description = "The new settings", body = Envelope<PrivacySettings>)))]
pub(super) async fn set_privacy(State(rest): State<Shared>, Auth(caller): Auth, Json(update): Json<PrivacyUpdate>) -> Answer<PrivacySettings> {
    Ok(Reply::ok(rest.backend.users.set_privacy(&caller, update).await?))
}
