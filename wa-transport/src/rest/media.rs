//! Uploaded files (contract, section 1.5) and the pictures of users and groups (sections 1.2 and 1.3). The bytes themselves
//! come in through `multipart` and go out through `files`.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wa_core::api::{AvatarOf, Purpose};
use wa_core::id::{ChatId, MediaId};
use wa_core::media::{MediaKind, MediaView};
use wa_core::session::Caller;

use super::Shared;
use super::envelope::{Answer, Envelope, Reply};
use super::error::ApiError;
use super::extract::{Auth, Path};
use super::multipart::{Incoming, receive};

/// Routes that take files: as templates, with their methods.
pub(super) const UPLOADS: [(&str, &str); 3] = [("POST", "/media/upload"), ("PUT", "/users/me/avatar"), ("PUT", "/chats/{id}/avatar")];

/// How long a browser may go on showing a picture that was replaced or removed.
const AVATAR_KEPT: HeaderValue = HeaderValue::from_static("private, max-age=300");

/// A file, and what it is.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "tells the OpenAPI document of the parts, which are read as they come in")]
pub(super) struct FileUpload {
    /// The file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// What it is uploaded as. It is best sent before the file: a file that is too large is then refused sooner.
    #[serde(rename = "type")]
    kind: MediaKind,
}

/// Uploads a file, which can then be sent.
#[utoipa::path(post, path = "/media/upload", operation_id = "upload_media", tag = "media", request_body(content = FileUpload, content_type = "multipart/form-data"), responses(
    (status = 201, description = "What was uploaded", body = Envelope<MediaView>),
    (status = 400, description = "MEDIA_INVALID_TYPE: its bytes are of no allowed format, or of another than the type"),
    (status = 413, description = "MEDIA_TOO_LARGE, PAYLOAD_TOO_LARGE")))]
pub(super) async fn upload(State(rest): State<Shared>, Auth(caller): Auth, request: Request) -> Answer<MediaView> {
    take_token(&rest, &caller).await?;
    let Incoming { upload, kind, file_name } = receive(&rest, request, &["file"], true, |kind| rest.backend.media.begin(&caller, Purpose::Send(kind))).await?;
    let kind = kind.ok_or_else(|| wa_core::Error::invalid("type", "is required"))?;
    let media = rest.backend.media.store(&caller, upload, kind, file_name).await?;
    count(&rest, media.size_bytes);
    Ok(Reply::created(true, media))
}

/// What is known of a file, with fresh URLs.
#[utoipa::path(get, path = "/media/{id}", operation_id = "get_media", tag = "media", params(("id" = MediaId, Path, description = "The file")), responses(
    (status = 200, description = "The file", body = Envelope<MediaView>),
    (status = 404, description = "NOT_FOUND")))]
pub(super) async fn get(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MediaId>) -> Answer<MediaView> {
    Ok(Reply::ok(rest.backend.media.get(&caller, id).await?))
}

/// Leads to the file's bytes, to be saved under its name.
#[utoipa::path(get, path = "/media/{id}/download", operation_id = "download_media", tag = "media", params(("id" = MediaId, Path, description = "The file")), responses(
    (status = 302, description = "To a URL that is good for an hour", headers(("Location" = String, description = "The URL"))),
    (status = 404, description = "NOT_FOUND")))]
pub(super) async fn download(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<MediaId>) -> Result<Response, ApiError> {
    found(&rest.backend.media.download(&caller, id).await?, HeaderValue::from_static("no-store"))
}

/// Leads to the picture of a user or group. The address of a picture is told to those who may see it; it needs no token, so
/// that it works in a page.
#[utoipa::path(get, path = "/api/v1/media/avatars/{id}", operation_id = "get_avatar", tag = "media", security(()), params(("id" = MediaId, Path, description = "The picture")), responses(
    (status = 302, description = "To a URL that is good for an hour", headers(("Location" = String, description = "The URL"))),
    (status = 404, description = "NOT_FOUND: there is none, or nobody shows it any more")))]
pub(super) async fn avatar(State(rest): State<Shared>, Path(id): Path<MediaId>) -> Result<Response, ApiError> {
    found(&rest.backend.media.avatar(id).await?, AVATAR_KEPT)
}

fn found(url: &str, kept: HeaderValue) -> Result<Response, ApiError> {
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(url).map_err(wa_core::Error::internal)?);
    response.headers_mut().insert(header::CACHE_CONTROL, kept);
    Ok(response)
}

/// A picture.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "tells the OpenAPI document of the parts, which are read as they come in")]
pub(super) struct AvatarUpload {
    /// A JPEG, PNG or WebP of at most 5 MB; the part may also be called `file`.
    #[schema(value_type = String, format = Binary)]
    avatar: Vec<u8>,
}

/// Where a picture is now.
#[derive(Serialize, ToSchema)]
pub(super) struct Avatar {
    /// An address that does not expire.
    avatar_url: String,
}

/// Sets the caller's picture.
#[utoipa::path(put, path = "/users/me/avatar", operation_id = "set_avatar", tag = "users", request_body(content = AvatarUpload, content_type = "multipart/form-data"), responses(
    (status = 200, description = "Where it is", body = Envelope<Avatar>),
    (status = 400, description = "MEDIA_INVALID_TYPE"),
    (status = 413, description = "MEDIA_TOO_LARGE, PAYLOAD_TOO_LARGE")))]
pub(super) async fn set_mine(State(rest): State<Shared>, Auth(caller): Auth, request: Request) -> Answer<Avatar> {
    set(&rest, &caller, AvatarOf::Caller, request).await
}

/// Sets a group's picture.
#[utoipa::path(put, path = "/chats/{id}/avatar", operation_id = "set_chat_avatar", tag = "groups", params(("id" = ChatId, Path, description = "The group")), request_body(content = AvatarUpload, content_type = "multipart/form-data"), responses(
    (status = 200, description = "Where it is", body = Envelope<Avatar>),
    (status = 400, description = "MEDIA_INVALID_TYPE"),
    (status = 403, description = "NOT_CHAT_MEMBER, NOT_ADMIN"),
    (status = 404, description = "CHAT_NOT_FOUND"),
    (status = 413, description = "MEDIA_TOO_LARGE, PAYLOAD_TOO_LARGE"),
    (status = 422, description = "VALIDATION_ERROR, also for a direct chat")))]
pub(super) async fn set_of_chat(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<ChatId>, request: Request) -> Answer<Avatar> {
    set(&rest, &caller, AvatarOf::Group(id), request).await
}

async fn set(rest: &Shared, caller: &Caller, of: AvatarOf, request: Request) -> Answer<Avatar> {
    take_token(rest, caller).await?;
    let Incoming { upload, .. } = receive(rest, request, &["avatar", "file"], false, |_| rest.backend.media.begin(caller, Purpose::Avatar(of))).await?;
    let size = upload.size();
    let avatar_url = rest.backend.media.set_avatar(caller, of, upload).await?;
    count(rest, size);
    Ok(Reply::ok(Avatar { avatar_url }))
}

async fn take_token(rest: &Shared, caller: &Caller) -> Result<(), wa_core::Error> {
    rest.take("upload", &caller.user_id, rest.backend.limits.upload).await
}

fn count(rest: &Shared, bytes: u64) {
    rest.backend.metrics.media_uploads().inc();
    rest.backend.metrics.media_upload_bytes().inc_by(bytes);
}
