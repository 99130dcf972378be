//! What is known of uploaded files, in the collection `media`. Every change is of one document, and so whole.

use std::sync::Arc;

use ::mongodb::bson::{Binary, Bson, DateTime, Document, Uuid, doc, spec::BinarySubtype};
use ::mongodb::{Collection, Cursor};
use async_trait::async_trait;
use wa_core::error::StoreError;
use wa_core::id::{MediaId, UserId};
use wa_core::media::{Checksum, Format, Media};
use wa_core::ports::{MediaStore, Stored, Unused};
use wa_core::time::Timestamp;

use super::{BACKEND, Mongo, answer};

/// Ids that one query names.
const IDS: usize = 256;

/// Files in MongoDB.
pub(super) struct MongoMediaStore {
    mongo: Arc<Mongo>,
}

fn id(id: MediaId) -> Bson {
    uuid(id.as_uuid())
}

fn uuid(id: uuid::Uuid) -> Bson {
    Uuid::from_bytes(id.into_bytes()).into()
}

fn time(at: Timestamp) -> Bson {
    DateTime::from_millis(at.as_millis()).into()
}

fn number(number: Option<u32>) -> Bson {
    number.map_or(Bson::Null, |number| i64::from(number).into())
}

fn document(media: &Media) -> Document {
    doc! {
        "media_id": id(media.id),
        "uploader_id": uuid(media.uploader_id.as_uuid()),
        "format": media.format.extension(),
        "size_bytes": i64::try_from(media.size_bytes).unwrap_or(i64::MAX),
        "width": number(media.width),
        "height": number(media.height),
        "duration_ms": number(media.duration_ms),
        "checksum": Binary { subtype: BinarySubtype::Generic, bytes: media.checksum.0.to_vec() },
        "file_name": media.file_name.clone(),
        "has_thumbnail": media.has_thumbnail,
        "created_at": time(media.created_at),
        "used_at": time(media.created_at),
        "is_released": false,
    }
}

/// A document that can be read, field by field.
struct Row(Document);

impl Row {
    fn field<'a, T>(&'a self, name: &str, read: impl FnOnce(&'a Bson) -> Option<T>) -> Stored<T> {
        self.0.get(name).and_then(read).ok_or_else(|| StoreError::corrupt(BACKEND, format!("a file whose {name} is none")))
    }

    fn uuid(&self, name: &str) -> Stored<uuid::Uuid> {
        self.field(name, |value| match value {
            Bson::Binary(binary) => binary.to_uuid().ok().map(|id| uuid::Uuid::from_bytes(id.bytes())),
            _ => None,
        })
    }

    fn id(&self) -> Stored<MediaId> {
        self.uuid("media_id").map(MediaId::from_uuid)
    }

    fn time(&self, name: &str) -> Stored<Timestamp> {
        self.field(name, |value| value.as_datetime().map(|at| Timestamp::from_millis(at.timestamp_millis())))
    }

    fn number(&self, name: &str) -> Stored<Option<u32>> {
        self.field(name, |value| match value {
            Bson::Null => Some(None),
            value => value.as_i64().and_then(|number| u32::try_from(number).ok()).map(Some),
        })
    }

    fn flag(&self, name: &str) -> Stored<bool> {
        self.field(name, Bson::as_bool)
    }

    fn media(&self) -> Stored<Media> {
        Ok(Media {
            id: self.id()?,
            uploader_id: UserId::from_uuid(self.uuid("uploader_id")?),
            format: self.field("format", |value| Format::from_extension(value.as_str()?))?,
            size_bytes: self.field("size_bytes", |value| u64::try_from(value.as_i64()?).ok())?,
            width: self.number("width")?,
            height: self.number("height")?,
            duration_ms: self.number("duration_ms")?,
            checksum: self.field("checksum", |value| match value {
                Bson::Binary(binary) => binary.bytes.clone().try_into().ok().map(Checksum),
                _ => None,
            })?,
            file_name: self.field("file_name", |value| match value {
                Bson::Null => Some(None),
                value => value.as_str().map(|name| Some(name.to_owned())),
            })?,
            has_thumbnail: self.flag("has_thumbnail")?,
            created_at: self.time("created_at")?,
        })
    }
}

impl MongoMediaStore {
    pub(super) const fn new(mongo: Arc<Mongo>) -> Self {
        Self { mongo }
    }

    fn files(&self) -> Collection<Document> {
        self.mongo.database.collection("media")
    }

    /// These of the documents that fit.
    async fn named(&self, ids: &[MediaId], more: Document) -> Stored<Vec<Row>> {
        let files = self.files();
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(IDS) {
            let mut filter = doc! { "media_id": { "$in": some.iter().map(|one| id(*one)).collect::<Vec<_>>() } };
            filter.extend(more.clone());
            found.extend(rows(answer(files.find(filter)).await?).await?);
        }
        Ok(found)
    }
}

async fn rows(mut cursor: Cursor<Document>) -> Stored<Vec<Row>> {
    let all = async {
        let mut rows = Vec::new();
        while cursor.advance().await? {
            rows.push(Row(cursor.deserialize_current()?));
        }
        Ok(rows)
    };
    answer(Box::pin(all)).await
}

#[async_trait]
impl MediaStore for MongoMediaStore {
    async fn insert(&self, media: &Media) -> Stored<()> {
        answer(self.files().insert_one(document(media))).await.map(drop)
    }

    async fn get(&self, ids: &[MediaId]) -> Stored<Vec<Media>> {
        self.named(ids, doc! { "is_released": false }).await?.iter().map(Row::media).collect()
    }

    async fn mark_used(&self, one: MediaId, at: Timestamp) -> Stored<bool> {
        let files = self.files();
        let mark = files.update_one(doc! { "media_id": id(one), "is_released": false }, doc! { "$max": { "used_at": time(at) } });
        Ok(answer(mark).await?.matched_count > 0)
    }

    async fn unused(&self, before: Timestamp, after: Option<(Timestamp, MediaId)>, limit: usize) -> Stored<Vec<Unused>> {
        let before = time(before);
        let filter = match after {
            None => doc! { "used_at": { "$lt": before } },
            // Bounded from both sides whichever way it is read.
            Some((used_at, last)) => doc! {
                "used_at": { "$gte": time(used_at), "$lt": before },
                "$or": [{ "used_at": { "$gt": time(used_at) } }, { "media_id": { "$gt": id(last) } }],
            },
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = rows(answer(self.files().find(filter).sort(doc! { "used_at": 1, "media_id": 1 }).limit(limit)).await?).await?;
        found.iter().map(|row| Ok(Unused { media: row.media()?, used_at: row.time("used_at")?, is_released: row.flag("is_released")? })).collect()
    }

    async fn release(&self, one: MediaId, before: Timestamp) -> Stored<bool> {
        let filter = doc! { "media_id": id(one), "$or": [{ "is_released": true }, { "used_at": { "$lt": time(before) } }] };
        Ok(answer(self.files().update_one(filter, doc! { "$set": { "is_released": true } })).await?.matched_count > 0)
    }

    async fn remove(&self, ids: &[MediaId]) -> Stored<()> {
        for some in ids.chunks(IDS) {
            let some: Vec<Bson> = some.iter().map(|one| id(*one)).collect();
            answer(self.files().delete_many(doc! { "media_id": { "$in": some }, "is_released": true })).await?;
        }
        Ok(())
    }

    async fn known(&self, ids: &[MediaId]) -> Stored<Vec<MediaId>> {
        self.named(ids, Document::new()).await?.iter().map(Row::id).collect()
    }
}
