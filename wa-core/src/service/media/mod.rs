//! Uploaded files: taking, showing and forgetting them (contract, sections 1.5 and 7), and the pictures of users and groups.

mod avatar;
mod store;
mod sweep;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::store::file_name;
use super::attachments::{Attachments, download_name};
use super::people::People;
use crate::api::{AvatarOf, ChatApi, MediaApi, Purpose, Swept, UserApi};
use crate::error::{Error, Missing, Result};
use crate::faults::planted;
use crate::id::MediaId;
use crate::limits::Limits;
use crate::media::{Media, MediaKind, MediaView};
use crate::ports::{
    BlobStore, ChatStore, ContactStore, Disposition, Env, MediaInspector, MediaStore, MediaUses, Presign, Showing, Staging, THUMBNAIL_WIDTH, UserStore,
};
use crate::privacy::Field;
use crate::session::Caller;
use crate::upload::{Places, Upload};

/// What the media service stands on.
#[derive(Clone)]
pub struct MediaDeps {
    /// What is known of files.
    pub media: Arc<dyn MediaStore>,
    /// What refers to them.
    pub uses: Arc<dyn MediaUses>,
    /// Where their bytes lie.
    pub blobs: Arc<dyn BlobStore>,
    /// Where uploads lie until they are known to be good.
    pub staging: Arc<dyn Staging>,
    /// Tells what they are.
    pub inspector: Arc<dyn MediaInspector>,
    /// Their addresses, shared with the message and fan-out service.
    pub attachments: Arc<Attachments>,
    /// Changes the pictures of users.
    pub user_api: Arc<dyn UserApi>,
    /// Changes the pictures of groups.
    pub chat_api: Arc<dyn ChatApi>,
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
}

impl fmt::Debug for MediaDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MediaDeps")
    }
}

/// Uploaded files, and the pictures of users and groups.
#[derive(Debug, Clone)]
pub struct MediaService {
    deps: MediaDeps,
    people: People,
    places: Places,
}

/// Profiles and groups that are asked whether they let somebody see the picture they have in common. One user gave it to
/// all of them, so that they are few.
const SHOWINGS: usize = 16;

impl MediaService {
    /// Files over these ports.
    #[must_use]
    pub fn new(deps: MediaDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts));
        let limits = &deps.limits;
        let places = Places::new(limits.uploads_at_once, if limits.enabled { limits.uploads_of_user } else { limits.uploads_at_once });
        Self { deps, people, places }
    }

    /// A file that the caller may see.
    async fn visible(&self, caller: &Caller, id: MediaId) -> Result<Media> {
        let absent = || Error::not_found(Missing::Resource);
        let media = self.deps.media.get(&[id]).await?.into_iter().next().ok_or_else(absent)?;
        if media.uploader_id == caller.user_id || planted("file_seen_by_all") || self.deps.uses.is_sent_to(id, caller.user_id, self.deps.env.now()).await? {
            return Ok(media);
        }
        for showing in self.deps.uses.shown_by(&media, SHOWINGS).await? {
            let sees = match showing {
                Showing::Profile(user) => self.people.seen_by(caller.user_id, &[user]).await?.get(&user).is_some_and(|seen| seen.may_see(Field::ProfilePhoto)),
                Showing::Status { owner, until } => self.deps.env.now() < until && self.people.shows_statuses_to(owner, caller.user_id).await?,
                Showing::Group(chat) => self.deps.chats.membership(chat).await?.is_some_and(|membership| membership.present(caller.user_id).is_some()),
            };
            if sees {
                return Ok(media);
            }
        }
        Err(absent())
    }
}

#[async_trait]
impl MediaApi for MediaService {
    async fn begin(&self, caller: &Caller, purpose: Purpose) -> Result<Upload> {
        let limits = &self.deps.limits;
        let most = match purpose {
            Purpose::Send(Some(kind)) => kind.max_bytes(limits),
            Purpose::Send(None) => MediaKind::ALL.into_iter().map(|kind| kind.max_bytes(limits)).max().unwrap_or_default(),
            Purpose::Avatar(of) => {
                self.may_set_avatar(caller, of).await?;
                limits.avatar_bytes as u64
            }
        };
        let place = self.places.take(caller.user_id)?;
        let staged = self.deps.staging.stage().await.map_err(Error::unavailable)?;
        Ok(Upload::new(staged, most, place))
    }

    async fn store(&self, caller: &Caller, upload: Upload, kind: MediaKind, name: Option<String>) -> Result<MediaView> {
        let name = name.and_then(|name| file_name(&name, self.deps.limits.label_length));
        let media = self.keep(caller.user_id, upload, kind, name, THUMBNAIL_WIDTH).await?;
        Ok(self.deps.attachments.attach(media).await?.view.clone())
    }

    async fn set_avatar(&self, caller: &Caller, of: AvatarOf, upload: Upload) -> Result<String> {
        self.replace_avatar(caller, of, upload).await
    }

    async fn get(&self, caller: &Caller, id: MediaId) -> Result<MediaView> {
        let media = self.visible(caller, id).await?;
        Ok(self.deps.attachments.attach(media).await?.view.clone())
    }

    async fn download(&self, caller: &Caller, id: MediaId) -> Result<String> {
        let media = self.visible(caller, id).await?;
        let how = Presign { ttl: self.deps.limits.media_url_ttl, disposition: Disposition::Attachment(download_name(&media)) };
        Ok(self.deps.blobs.presign(&media.original(), &how).await?)
    }

    async fn avatar(&self, id: MediaId) -> Result<String> {
        let absent = || Error::not_found(Missing::Resource);
        let media = self.deps.media.get(&[id]).await?.into_iter().next().ok_or_else(absent)?;
        let showings = self.deps.uses.shown_by(&media, SHOWINGS).await?;
        // A status has no address that is open to everybody.
        if !showings.iter().any(|showing| matches!(showing, Showing::Profile(_) | Showing::Group(_))) {
            return Err(absent());
        }
        let how = Presign { ttl: self.deps.limits.media_url_ttl, disposition: Disposition::Inline };
        Ok(self.deps.blobs.presign(&media.original(), &how).await?)
    }

    async fn sweep(&self) -> Result<Swept> {
        self.sweep_all().await
    }
}
