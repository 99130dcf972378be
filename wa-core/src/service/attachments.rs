//! Files as messages show them: whether a sender may send one, and the addresses under which readers fetch it. Addresses are
//! kept at hand for a little less than they are good, so that a page of messages costs one look-up, and mostly none.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::id::{MediaId, UserId};
use crate::limits::Limits;
use crate::link::{Links, avatar_of};
use crate::media::{Media, MediaKind, MediaView};
use crate::message::{Content, MessageView};
use crate::ports::{BlobStore, Disposition, Env, MediaStore, MediaUses, Presign};
use crate::time::Timestamp;

/// What files in messages stand on.
#[derive(Clone)]
pub struct AttachmentDeps {
    /// What is known of files.
    pub media: Arc<dyn MediaStore>,
    /// What refers to them.
    pub uses: Arc<dyn MediaUses>,
    /// Where their bytes lie.
    pub blobs: Arc<dyn BlobStore>,
    /// Where people reach the server.
    pub links: Arc<Links>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
}

impl fmt::Debug for AttachmentDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachmentDeps")
    }
}

/// A file with fresh addresses.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) media: Media,
    pub(super) view: MediaView,
}

/// A file with addresses, and when they were made.
type Kept = (Arc<Attached>, Timestamp);

/// Files as messages, profiles and groups show them. Share one between all services.
#[derive(Debug)]
pub struct Attachments {
    deps: AttachmentDeps,
    kept: Mutex<HashMap<MediaId, Kept>>,
}

impl Attachments {
    /// Files over these ports.
    #[must_use]
    pub fn new(deps: AttachmentDeps) -> Self {
        Self { deps, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<MediaId, Kept>> {
        // A file or none: whatever a panicking thread left is whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file with fresh addresses, for those who may see it.
    pub(super) async fn attach(&self, media: Media) -> Result<Arc<Attached>> {
        let now = self.deps.env.now();
        let how = |disposition| Presign { ttl: self.deps.limits.media_url_ttl, disposition };
        let disposition = if media.format.shows_inline() { Disposition::Inline } else { Disposition::Attachment(download_name(&media)) };
        let url = self.deps.blobs.presign(&media.original(), &how(disposition)).await?;
        let thumbnail_url = match media.thumbnail() {
            Some(thumbnail) => Some(self.deps.blobs.presign(&thumbnail, &how(Disposition::Inline)).await?),
            None => None,
        };
        let attached = Arc::new(Attached { view: media.view(url, thumbnail_url), media });
        let mut kept = self.kept();
        // Starting over is rare and costs one look-up each; keeping an order for it would cost every message.
        if kept.len() >= self.deps.limits.media_urls {
            kept.clear();
        }
        kept.insert(attached.media.id, (Arc::clone(&attached), now));
        Ok(attached)
    }

    /// These files with fresh addresses; unknown ones are left out.
    pub(super) async fn of(&self, ids: &BTreeSet<MediaId>) -> Result<HashMap<MediaId, Arc<Attached>>> {
        let now = self.deps.env.now();
        let mut found = HashMap::with_capacity(ids.len());
        let mut wanted = Vec::new();
        {
            let kept = self.kept();
            for id in ids {
                match kept.get(id).filter(|(_, since)| now.since(*since) < self.deps.limits.media_url_fresh) {
                    Some((attached, _)) => _ = found.insert(*id, Arc::clone(attached)),
                    None => wanted.push(*id),
                }
            }
        }
        if !wanted.is_empty() {
            for media in self.deps.media.get(&wanted).await? {
                found.insert(media.id, self.attach(media).await?);
            }
        }
        Ok(found)
    }

    /// Where people reach the server.
    pub(super) fn links(&self) -> Arc<Links> {
        Arc::clone(&self.deps.links)
    }

    /// Deletes the picture at this kept address, which is shown no more, unless something else refers to it. What fails is
    /// left to the sweep.
    pub(super) async fn let_go(&self, avatar: &str) {
        let Some(id) = avatar_of(avatar) else { return };
        if let Err(error) = self.discard(id).await {
            tracing::debug!(media_id = %id, %error, "a picture that is not shown any more is deleted by the sweep");
        }
    }

    async fn discard(&self, id: MediaId) -> Result<()> {
        // What is about to refer to it from here on keeps it, though it is not found yet.
        let soon = self.deps.env.now().after(Duration::from_millis(1));
        if !self.deps.uses.used(&[id]).await?.is_empty() {
            return Ok(());
        }
        let Some(media) = self.deps.media.get(&[id]).await?.into_iter().next() else { return Ok(()) };
        if self.deps.media.release(id, soon).await? { self.delete(&media).await } else { Ok(()) }
    }

    /// Deletes the objects of a released file, and then what is known of it.
    pub(super) async fn delete(&self, media: &Media) -> Result<()> {
        self.forget(media.id);
        self.deps.blobs.delete(&media.original()).await?;
        if let Some(thumbnail) = media.thumbnail() {
            self.deps.blobs.delete(&thumbnail).await?;
        }
        Ok(self.deps.media.remove(&[media.id]).await?)
    }

    /// How many files are kept at hand.
    #[cfg(test)]
    pub(super) fn kept_files(&self) -> usize {
        self.kept().len()
    }

    /// Forgets a file.
    fn forget(&self, id: MediaId) {
        self.kept().remove(&id);
    }

    /// Notes that something is about to refer to a file. From then on it is spared by the sweep for long enough to do so.
    /// Returns whether it is there.
    pub(super) async fn keep(&self, media: &Media) -> Result<bool> {
        let now = self.deps.env.now();
        // A new file is spared anyway, and most are sent right after they were uploaded.
        if now.since(media.created_at) < self.deps.limits.orphan_age / 2 {
            return Ok(true);
        }
        let is_there = self.deps.media.mark_used(media.id, now).await?;
        if !is_there {
            self.forget(media.id);
        }
        Ok(is_there)
    }

    /// The caller's own file of this kind, which something is about to refer to.
    ///
    /// # Errors
    /// VALIDATION_ERROR at this field for anything else.
    pub(super) async fn own(&self, user: UserId, id: MediaId, kind: MediaKind, field: &str) -> Result<Arc<Attached>> {
        let found = self.of(&BTreeSet::from([id])).await?.remove(&id).filter(|attached| attached.media.uploader_id == user);
        let attached = found.ok_or_else(|| Error::invalid(field, "is no file that you uploaded"))?;
        if attached.media.format.kind() != kind {
            return Err(Error::invalid(field, format!("is a file of another type: it was uploaded as {}", attached.media.format.kind())));
        }
        if self.keep(&attached.media).await? { Ok(attached) } else { Err(Error::invalid(field, "is no file that you uploaded")) }
    }

    /// That a profile or group may show what is at this address: anything but a file of this server that the caller did not
    /// upload as a picture. Notes its use: unlike messages, pictures are deleted as soon as nothing shows them, however new.
    ///
    /// # Errors
    /// VALIDATION_ERROR at `avatar_url`.
    pub(super) async fn may_show(&self, user: UserId, avatar: &str) -> Result<()> {
        let Some(id) = avatar_of(avatar) else { return Ok(()) };
        let field = "avatar_url";
        self.own(user, id, MediaKind::Image, field).await?;
        if self.deps.media.mark_used(id, self.deps.env.now()).await? { Ok(()) } else { Err(Error::invalid(field, "is no file that you uploaded")) }
    }

    /// Whether a file that a message refers to can be referred to once more.
    pub(super) async fn again(&self, content: &Content) -> Result<bool> {
        let Some(id) = content.media_id() else { return Ok(true) };
        match self.of(&BTreeSet::from([id])).await?.get(&id) {
            Some(attached) => self.keep(&attached.media).await,
            None => Ok(false),
        }
    }

    /// Adds to messages with files what readers need of them (contract, section 1.4), in one look-up for all. Should that fail
    /// it is null: a message is worth more than its picture.
    pub(super) async fn enrich(&self, messages: impl IntoIterator<Item = &mut MessageView>) {
        let messages: Vec<(MediaId, &mut MessageView)> = messages.into_iter().filter_map(|message| Some((shown_file(message)?, message))).collect();
        if messages.is_empty() {
            return;
        }
        let shown = messages.iter().map(|(id, _)| *id).collect();
        let files = self.of(&shown).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "messages are shown without the addresses of their files");
            HashMap::new()
        });
        for (id, message) in messages {
            add_file(message, files.get(&id).map(|attached| &**attached));
        }
    }

    /// As [`Self::enrich`], for one message that others hold as well.
    pub(super) async fn enriched(&self, message: &Arc<MessageView>) -> Arc<MessageView> {
        if shown_file(message).is_none() {
            return Arc::clone(message);
        }
        let mut message = [MessageView::clone(message)];
        self.enrich(&mut message).await;
        let [message] = message;
        Arc::new(message)
    }
}

/// The file a message shows.
fn shown_file(message: &MessageView) -> Option<MediaId> {
    MediaKind::of_message(message.kind).filter(|_| !message.is_deleted)?;
    message.payload.to_value().get("media_id")?.as_str()?.parse().ok()
}

/// A message whose file its reader may not have.
pub(super) fn without_file(mut message: MessageView) -> MessageView {
    if shown_file(&message).is_some() {
        add_file(&mut message, None);
    }
    message
}

/// Adds a file to the payload of its message: what could be found, and null for the rest.
fn add_file(message: &mut MessageView, file: Option<&Attached>) {
    let Value::Object(mut payload) = message.payload.to_value() else { return };
    let view = file.map(|file| &file.view);
    // The length as the sender's device measured it stands in where the file itself does not tell.
    let duration_ms = view.and_then(|view| view.duration_ms.map(u64::from)).or_else(|| payload.get("duration_ms").and_then(Value::as_u64));
    let name = payload.get("filename").and_then(Value::as_str).map(str::to_owned).or_else(|| file.and_then(|file| file.media.file_name.clone()));
    let fields = json!({
        "media_url": view.map(|view| &view.url),
        "thumbnail_url": view.and_then(|view| view.thumbnail_url.as_ref()),
        "mime_type": view.map(|view| &view.mime_type),
        "size_bytes": view.map(|view| view.size_bytes),
        "width": view.and_then(|view| view.width),
        "height": view.and_then(|view| view.height),
        "duration_ms": duration_ms,
        "file_name": name,
        "file_size": view.map(|view| view.size_bytes),
        "duration": duration_ms.map(|millis| millis.div_ceil(1000)),
    });
    if let Value::Object(fields) = fields {
        payload.extend::<Map<String, Value>>(fields);
    }
    message.payload = Value::Object(payload).into();
}

/// The name under which a file is saved: its own, with the ending its bytes ask for, so that no program opens it as something
/// else.
pub(super) fn download_name(media: &Media) -> String {
    let extension = media.format.extension();
    match &media.file_name {
        None => format!("{}.{extension}", media.id),
        Some(name) => match name.rsplit_once('.') {
            Some((_, ending)) if is_spelling(ending, extension) => name.clone(),
            _ => format!("{name}.{extension}"),
        },
    }
}

fn is_spelling(ending: &str, extension: &str) -> bool {
    ending.eq_ignore_ascii_case(extension)
        || match extension {
            "jpg" => ending.eq_ignore_ascii_case("jpeg"),
            "opus" => ending.eq_ignore_ascii_case("ogg") || ending.eq_ignore_ascii_case("oga"),
            "ogg" => ending.eq_ignore_ascii_case("oga"),
            "mp4" => ending.eq_ignore_ascii_case("m4v"),
            _ => false,
        }
}
