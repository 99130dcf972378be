//! The sweep: files that nothing has referred to for long are released, and then deleted, objects first; objects of no known
//! file, which crashes leave, are deleted too.

use std::collections::BTreeSet;

use super::MediaService;
use super::store::unavailable;
use crate::api::Swept;
use crate::error::Result;
use crate::id::MediaId;
use crate::media::ObjectKey;

impl MediaService {
    pub(super) async fn sweep_all(&self) -> Result<Swept> {
        Ok(Swept { files: self.sweep_files().await?, objects: self.sweep_objects().await? })
    }

    async fn sweep_files(&self) -> Result<usize> {
        let limits = &self.deps.limits;
        let now = self.deps.env.now();
        let before = crate::time::Timestamp::from_millis(now.as_millis().saturating_sub(i64::try_from(limits.orphan_age.as_millis()).unwrap_or(i64::MAX)));
        let (mut after, mut deleted) = (None, 0);
        loop {
            let unused = self.deps.media.unused(before, after, limits.sweep_batch).await?;
            let Some(last) = unused.last() else { return Ok(deleted) };
            after = Some((last.used_at, last.media.id));
            let ids: Vec<MediaId> = unused.iter().filter(|file| !file.is_released).map(|file| file.media.id).collect();
            let used: BTreeSet<MediaId> = if ids.is_empty() { BTreeSet::new() } else { self.deps.uses.used(&ids).await?.into_iter().collect() };
            for file in unused {
                if used.contains(&file.media.id) {
                    continue;
                }
                // Whoever is about to refer to it noted so, and then it is not released.
                if file.is_released || self.deps.media.release(file.media.id, before).await? {
                    self.deps.attachments.delete(&file.media).await?;
                    deleted += 1;
                }
            }
        }
    }

    async fn sweep_objects(&self) -> Result<usize> {
        let limits = &self.deps.limits;
        let now = self.deps.env.now();
        let (mut after, mut deleted) = (None, 0);
        loop {
            let objects = self.deps.blobs.list(after, limits.sweep_batch).await.map_err(unavailable)?;
            let Some(last) = objects.last() else { return Ok(deleted) };
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
                    self.deps.blobs.delete(&key).await.map_err(unavailable)?;
                    deleted += 1;
                }
            }
        }
    }
}
