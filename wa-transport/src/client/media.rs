//! Files: sent up piece by piece from the disk, and fetched piece by piece to wherever they go. Nothing is held whole.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use url::Url;
use wa_core::id::{ChatId, MediaId};
use wa_core::media::{MediaKind, MediaView};

use super::Client;
use super::error::{ApiError, ClientError};
use super::http::{Call, data_of, refusal, retry_after};

/// Bytes that are read from the disk at a time.
const PIECE: usize = 64 << 10;

/// How long a file may take. The server watches whether it goes on.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Told how many bytes are done, time and again.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

#[derive(Deserialize)]
struct Avatar {
    avatar_url: String,
}

/// Files and pictures (contract, sections 1.2, 1.3 and 1.5).
impl Client {
    /// Uploads a file, which can then be sent. `progress` is told how much was handed over.
    ///
    /// # Errors
    /// MEDIA_INVALID_TYPE, MEDIA_TOO_LARGE, RATE_LIMITED; [`ClientError::Invalid`] if the file cannot be read.
    pub async fn upload(&self, path: &Path, kind: MediaKind, progress: Option<Progress>) -> Result<MediaView, ClientError> {
        self.send_file(Method::POST, "/media/upload", "file", Some(kind), path, progress).await
    }

    /// What is known of a file, with fresh URLs.
    ///
    /// # Errors
    /// NOT_FOUND for whoever may not see it.
    pub async fn media(&self, id: MediaId) -> Result<MediaView, ClientError> {
        self.call(Call::get(format!("/media/{id}"))).await
    }

    /// Fetches a file. `progress` is told how much came. Returns how many bytes were written.
    ///
    /// # Errors
    /// NOT_FOUND for whoever may not see it; [`ClientError::Transport`] if the file ends too soon; [`ClientError::Invalid`] if
    /// what came cannot be written.
    pub async fn download(&self, id: MediaId, mut to: impl AsyncWrite + Unpin, progress: Option<Progress>) -> Result<u64, ClientError> {
        let url = self.leads_to(&format!("/media/{id}/download")).await?;
        // No token goes there: the address is all it takes, and may be of another host.
        let response = self.inner.http.get(url).timeout(PATIENCE).send().await.map_err(ClientError::transport)?;
        if !response.status().is_success() {
            let (status, wait) = (response.status().as_u16(), retry_after(&response));
            return Err(refusal(status, wait, &response.bytes().await.unwrap_or_default()));
        }
        let mut pieces = response.bytes_stream();
        let mut done = 0;
        let unwritable = |error: std::io::Error| ClientError::Invalid(format!("the file cannot be written: {error}"));
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(ClientError::transport)?;
            to.write_all(&piece).await.map_err(unwritable)?;
            done += piece.len() as u64;
            if let Some(progress) = &progress {
                progress(done);
            }
        }
        to.flush().await.map_err(unwritable)?;
        Ok(done)
    }

    /// Sets the caller's picture: a JPEG, PNG or WebP. Returns its address, which does not expire.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub async fn set_avatar(&self, path: &Path) -> Result<String, ClientError> {
        let avatar: Avatar = self.send_file(Method::PUT, "/users/me/avatar", "avatar", None, path, None).await?;
        Ok(avatar.avatar_url)
    }

    /// Sets a group's picture. For admins.
    ///
    /// # Errors
    /// As [`Self::upload`]; NOT_ADMIN.
    pub async fn set_chat_avatar(&self, chat: ChatId, path: &Path) -> Result<String, ClientError> {
        let avatar: Avatar = self.send_file(Method::PUT, &format!("/chats/{chat}/avatar"), "avatar", None, path, None).await?;
        Ok(avatar.avatar_url)
    }

    /// Where a call leads.
    async fn leads_to(&self, path: &str) -> Result<Url, ClientError> {
        let base = Url::parse(&self.inner.base).map_err(|error| ClientError::Invalid(error.to_string()))?;
        let mut renewed = false;
        loop {
            let token = self.inner.tokens.current().await?.access_token;
            let request = self.inner.http.get(format!("{}/api/v1{path}", self.inner.base)).header(AUTHORIZATION, format!("Bearer {token}"));
            let response = request.send().await.map_err(ClientError::transport)?;
            let status = response.status();
            if status.is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                return location.and_then(|location| base.join(location).ok()).ok_or_else(|| ClientError::Protocol("a redirect to nowhere".to_owned()));
            }
            let wait = retry_after(&response);
            let error = refusal(status.as_u16(), wait, &response.bytes().await.unwrap_or_default());
            self.renew_for(error, &token, &mut renewed).await?;
        }
    }

    async fn send_file<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        part: &'static str,
        kind: Option<MediaKind>,
        file: &Path,
        progress: Option<Progress>,
    ) -> Result<T, ClientError> {
        let mut renewed = false;
        loop {
            let token = self.inner.tokens.current().await?.access_token;
            let form = Form::new();
            // Said first, so that what is too large for it is refused as soon as that shows.
            let form = match kind {
                Some(kind) => form.text("type", kind.as_str()),
                None => form,
            };
            let form = form.part(part, part_of(file, progress.clone()).await?);
            let request = self.inner.http.request(method.clone(), format!("{}/api/v1{path}", self.inner.base)).timeout(PATIENCE);
            let response = request.header(AUTHORIZATION, format!("Bearer {token}")).multipart(form).send().await.map_err(ClientError::transport)?;
            let (status, wait) = (response.status(), retry_after(&response));
            let body = response.bytes().await.map_err(ClientError::transport)?;
            if status.is_success() {
                return data_of(&body);
            }
            self.renew_for(refusal(status.as_u16(), wait, &body), &token, &mut renewed).await?;
        }
    }

    /// Exchanges the tokens if that is what a refusal asks for, once.
    async fn renew_for(&self, error: ClientError, token: &str, renewed: &mut bool) -> Result<(), ClientError> {
        if *renewed || error.api().map(|ApiError { code, .. }| code.as_str()) != Some("TOKEN_EXPIRED") {
            return Err(error);
        }
        *renewed = true;
        self.renew(token).await
    }
}

async fn part_of(path: &Path, progress: Option<Progress>) -> Result<Part, ClientError> {
    let unreadable = |error: std::io::Error| ClientError::Invalid(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).await.map_err(unreadable)?;
    let metadata = file.metadata().await.map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ClientError::Invalid(format!("{} is no file", path.display())));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Part::stream_with_length(Body::wrap_stream(pieces(file, progress)), metadata.len()).file_name(name))
}

fn pieces(file: File, progress: Option<Progress>) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    stream::unfold(Some((file, 0_u64)), move |state| {
        let progress = progress.clone();
        async move {
            let (mut file, mut done) = state?;
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    done += read as u64;
                    if let Some(progress) = progress {
                        progress(done);
                    }
                    Some((Ok(piece.into()), Some((file, done))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}
