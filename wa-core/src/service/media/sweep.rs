//! The sweep: files that nothing has referred to for long are released, and then deleted, objects first; objects of no known
//! file, which crashes leave, are deleted too. One that cannot be deleted keeps the others from nothing.

use std::collections::BTreeSet;

use super::MediaService;
use super::store::unavailable;
use crate::api::Swept;
use crate::error::{Error, Result};
use crate::id::MediaId;
use crate::media::ObjectKey;

/// Objects that are listed in one go: more than files are looked up, as a store may have to sort a whole folder for each go.
const LISTED: usize = 10_000;

/// How many could be deleted, and why the first one could not that was not.
#[derive(Default)]
struct Deleted {
    count: usize,
    failed: Option<Error>,
}

impl Deleted {
    fn note(&mut self, id: MediaId, deleted: Result<()>) {
        match deleted {
            Ok(()) => self.count += 1,
            Err(error) => {
                tracing::warn!(media_id = %id, %error, "an unused file cannot be deleted; the next sweep tries again");
                self.failed.get_or_insert(error);
            }
        }
    }

    fn all(self) -> Result<usize> {
        self.failed.map_or(Ok(self.count), Err)
    }
}

impl MediaService {
    pub(super) async fn sweep_all(&self) -> Result<Swept> {
        let (files, objects) = (self.sweep_files().await, self.sweep_objects().await);
        Ok(Swept { files: files?, objects: objects? })
    }

    async fn sweep_files(&self) -> Result<usize> {
        let limits = &self.deps.limits;
        let now = self.deps.env.now();
        let before = crate::time::Timestamp::from_millis(now.as_millis().saturating_sub(i64::try_from(limits.orphan_age.as_millis()).unwrap_or(i64::MAX)));
        let (mut after, mut deleted) = (None, Deleted::default());
        loop {
            let unused = self.deps.media.unused(before, after, limits.sweep_batch).await?;
            let Some(last) = unused.last() else { return deleted.all() };
            after = Some((last.used_at, last.media.id));
            let ids: Vec<MediaId> = unused.iter().filter(|file| !file.is_released).map(|file| file.media.id).collect();
            let used: BTreeSet<MediaId> = if ids.is_empty() { BTreeSet::new() } else { self.deps.uses.used(&ids).await?.into_iter().collect() };
            for file in unused {
                if used.contains(&file.media.id) {
                    continue;
                }
                // Whoever is about to refer to it noted so, and then it is not released.
                if file.is_released || self.deps.media.release(file.media.id, before).await? {
                    deleted.note(file.media.id, self.deps.attachments.delete(&file.media).await);
                }
            }
        }
    }

    async fn sweep_objects(&self) -> Result<usize> {
        let limits = &self.deps.limits;
        let now = self.deps.env.now();
        let (mut after, mut deleted) = (None, Deleted::default());
        loop {
            let objects = self.deps.blobs.list(after, LISTED).await.map_err(unavailable)?;
            let Some(last) = objects.last() else { return deleted.all() };
            after = Some(last.key);
            // A young one may belong to an upload that is not noted yet.
            let old: Vec<_> = objects.into_iter().filter(|object| now.since(object.stored_at) >= limits.orphan_age).map(|object| object.key).collect();
            let ids: BTreeSet<MediaId> = old.iter().map(ObjectKey::media_id).collect();
            if ids.is_empty() {
                continue;
            }
            let known: BTreeSet<MediaId> = self.deps.media.known(&ids.into_iter().collect::<Vec<_>>()).await?.into_iter().collect();
            for key in old {
                if !known.contains(&key.media_id()) {
                    deleted.note(key.media_id(), self.deps.blobs.delete(&key).await.map_err(unavailable));
                }
            }
        }
    }
}
