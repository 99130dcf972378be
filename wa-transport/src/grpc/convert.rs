//! Between the messages of the proto files and the values of the core. What is absent or malformed is told by the name of its
//! field.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wa_core::chat::LastMessage;
use wa_core::error::{Error, Result};
use wa_core::id::{ConnectionId, DeviceId, UserId};
use wa_core::media::MediaView;
use wa_core::session::Caller;
use wa_core::time::Timestamp;
use wa_core::user::Profile;

use prost::bytes::Bytes;

use super::proto::{media, message, user};

/// Ids in one request.
pub(super) const MOST_IDS: usize = 1000;

/// An id that must be there.
pub(super) fn id<Id: From<Uuid>>(field: &str, text: &str) -> Result<Id> {
    optional_id(field, text)?.ok_or_else(|| Error::invalid(field, "is missing; it must be a UUID"))
}

/// An id that may be absent.
pub(super) fn optional_id<Id: From<Uuid>>(field: &str, text: &str) -> Result<Option<Id>> {
    if text.is_empty() {
        return Ok(None);
    }
    // The one spelling of ids, whatever they name.
    let uuid: UserId = text.parse().map_err(|_| Error::invalid(field, "must be a UUID"))?;
    Ok(Some(Id::from(uuid.as_uuid())))
}

/// A bounded list of ids.
pub(super) fn ids<Id: From<Uuid>>(field: &str, texts: &[String]) -> Result<Vec<Id>> {
    if texts.len() > MOST_IDS {
        return Err(Error::invalid(field, format!("must have at most {MOST_IDS} entries")));
    }
    texts.iter().enumerate().map(|(index, text)| id(&format!("{field}[{index}]"), text)).collect()
}

pub(super) fn texts<Id: ToString>(ids: impl IntoIterator<Item = Id>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

/// On whose behalf a call is made. A service that acts for a user names no device.
pub(super) fn caller_of(user: &str, device: &str) -> Result<Caller> {
    let nowhere = || DeviceId::from_uuid(Uuid::nil());
    Ok(Caller { user_id: id("user_id", user)?, device_id: optional_id("device_id", device)?.unwrap_or_else(nowhere) })
}

pub(super) fn caller(caller: Option<&message::Caller>) -> Result<Caller> {
    let caller = caller.ok_or_else(|| Error::invalid("caller", "is missing"))?;
    let nowhere = || DeviceId::from_uuid(Uuid::nil());
    Ok(Caller { user_id: id("caller.user_id", &caller.user_id)?, device_id: optional_id("caller.device_id", &caller.device_id)?.unwrap_or_else(nowhere) })
}

pub(super) fn from_caller(caller: &Caller) -> message::Caller {
    message::Caller { user_id: caller.user_id.to_string(), device_id: caller.device_id.to_string() }
}

pub(super) fn from_origin(origin: Option<ConnectionId>) -> String {
    origin.map_or_else(String::new, |id| id.to_string())
}

/// What follows here is written by this program or read from one that is; anything else is a defect.
pub(super) fn to_json(value: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(Error::internal)
}

/// The object in a field that ends in `_json`.
pub(super) fn from_json<T: DeserializeOwned>(field: &str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| Error::invalid(field, format!("cannot be read: {error}")))
}

pub(super) fn from_time(time: Timestamp) -> prost_types::Timestamp {
    let millis = time.as_millis();
    prost_types::Timestamp { seconds: millis.div_euclid(1000), nanos: i32::try_from(millis.rem_euclid(1000) * 1_000_000).unwrap_or_default() }
}

pub(super) fn to_time(field: &str, time: &prost_types::Timestamp) -> Result<Timestamp> {
    let millis = time.seconds.checked_mul(1000).and_then(|millis| millis.checked_add(i64::from(time.nanos) / 1_000_000));
    let is_time = |millis: &i64| (0..=Timestamp::MAX.as_millis()).contains(millis) && (0..1_000_000_000).contains(&time.nanos);
    millis.filter(is_time).map(Timestamp::from_millis).ok_or_else(|| Error::invalid(field, "must be a time from 1970 to 9999"))
}

impl From<Profile> for user::UserProfile {
    fn from(profile: Profile) -> Self {
        Self {
            user_id: profile.id.to_string(),
            phone: profile.phone,
            display_name: profile.display_name,
            avatar_url: profile.avatar_url,
            status_text: profile.status_text,
            created_at: Some(from_time(profile.created_at)),
            updated_at: Some(from_time(profile.updated_at)),
        }
    }
}

impl From<LastMessage> for message::MessagePreview {
    fn from(last: LastMessage) -> Self {
        Self {
            message_id: last.message_id.to_string(),
            sender_id: last.sender_id.to_string(),
            r#type: last.kind.as_str().to_owned(),
            preview: last.preview,
            timestamp: Some(from_time(last.timestamp)),
            seq: last.seq.get(),
        }
    }
}

impl From<MediaView> for media::GetMediaMetadataResponse {
    fn from(view: MediaView) -> Self {
        let small = |number: Option<u32>| number.map_or(0, |number| i32::try_from(number).unwrap_or(i32::MAX));
        Self {
            media_id: view.media_id.to_string(),
            file_type: view.file_type.as_str().to_owned(),
            mime_type: view.mime_type,
            size_bytes: i64::try_from(view.size_bytes).unwrap_or(i64::MAX),
            url: view.url,
            thumbnail_url: view.thumbnail_url.unwrap_or_default(),
            width: small(view.width),
            height: small(view.height),
            duration_ms: view.duration_ms.map_or(0, i64::from),
        }
    }
}

/// A payload as the rules of the core read it: what is not set is absent.
pub(super) fn payload(payload: &message::MessagePayload) -> Value {
    let mut fields = Map::new();
    for (name, text) in [
        ("body", &payload.body),
        ("media_id", &payload.media_id),
        ("caption", &payload.caption),
        ("filename", &payload.filename),
        ("name", &payload.name),
        ("address", &payload.address),
    ] {
        if !text.is_empty() {
            fields.insert(name.to_owned(), json!(text));
        }
    }
    if payload.duration_ms != 0 {
        fields.insert("duration_ms".to_owned(), json!(payload.duration_ms));
    }
    if !payload.waveform.is_empty() {
        fields.insert("waveform".to_owned(), json!(payload.waveform.to_vec()));
    }
    for (name, degrees) in [("latitude", payload.latitude), ("longitude", payload.longitude)] {
        if let Some(degrees) = degrees {
            fields.insert(name.to_owned(), json!(degrees));
        }
    }
    if !payload.mentions.is_empty() {
        let mention = |mention: &message::Mention| json!({ "user_id": mention.user_id, "offset": mention.offset, "length": mention.length });
        fields.insert("mentions".to_owned(), payload.mentions.iter().map(mention).collect());
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_read_back(millis in 0..=Timestamp::MAX.as_millis()) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(to_time("at", &from_time(time)).ok(), Some(time));
        }

        #[test]
        fn any_time_is_read_or_refused(seconds in any::<i64>(), nanos in any::<i32>()) {
            let _ = to_time("at", &prost_types::Timestamp { seconds, nanos });
        }
    }

    #[test]
    fn absent_and_malformed_ids_are_told_by_their_field() {
        let field = |error: Error| error.details().first().map(|field| field.field.clone());
        assert_eq!(id::<UserId>("user_id", "").map_err(field), Err(Some("user_id".to_owned())));
        assert_eq!(ids::<UserId>("user_ids", &["x".to_owned()]).map_err(field), Err(Some("user_ids[0]".to_owned())));
        let many = vec![Uuid::nil().to_string(); MOST_IDS + 1];
        assert_eq!(ids::<UserId>("user_ids", &many).map_err(field), Err(Some("user_ids".to_owned())));
        assert_eq!(ids::<UserId>("user_ids", &many[1..]).map(|ids| ids.len()).map_err(field), Ok(MOST_IDS));
        assert_eq!(optional_id::<UserId>("user_id", "").map_err(field), Ok(None));
    }

    #[test]
    fn a_payload_holds_what_was_set() {
        let set =
            message::MessagePayload { body: "hi".to_owned(), latitude: Some(0.0), duration_ms: 5, waveform: Bytes::from_static(&[1, 2]), ..Default::default() };
        assert_eq!(payload(&set), json!({ "body": "hi", "latitude": 0.0, "duration_ms": 5, "waveform": [1, 2] }));
        assert_eq!(payload(&message::MessagePayload::default()), json!({}));
    }
}
