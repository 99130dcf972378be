//! The contract of `MediaUses`.

use std::collections::BTreeSet;
use std::time::Duration;

use wa_core::id::{MediaId, UserId};
use wa_core::link::avatar_path;
use wa_core::media::{Format, Media};
use wa_core::message::{Audio, Content, Document, Picture};
use wa_core::ports::{NewMessage, Showing};
use wa_core::status_post::{StatusContent, StatusPost};
use wa_core::user::ProfileUpdate;

use super::Subject;
use super::people::text;

fn picture(id: MediaId) -> Content {
    Content::Image(Picture { media_id: id, caption: Some("look".to_owned()) })
}

async fn sees(s: &Subject, id: MediaId, user: UserId) -> bool {
    s.media_uses.is_sent_to(id, user, s.now()).await.expect("answered")
}

async fn is_used(s: &Subject, id: MediaId) -> bool {
    !s.media_uses.used(&[id]).await.expect("answered").is_empty()
}

async fn showings(s: &Subject, media: &Media) -> Vec<Showing> {
    s.media_uses.shown_by(media, 10).await.expect("read")
}

async fn wears(s: &Subject, user: UserId, avatar_url: String) {
    let update = ProfileUpdate { avatar_url: Some(avatar_url), ..ProfileUpdate::default() };
    s.users.update(user, update, s.now()).await.expect("answered").expect("the user exists");
}

/// Case.
pub async fn a_file_in_a_message_is_shown_to_those_who_can_see_the_message(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let stranger = s.user().await;
    let ids: Vec<MediaId> = (0..4).map(|_| s.id()).collect();
    let contents = [
        picture(ids[0]),
        Content::Video(Picture { media_id: ids[1], caption: None }),
        Content::Audio(Audio { media_id: ids[2], duration_ms: None, waveform: None }),
        Content::Document(Document { media_id: ids[3], filename: None, caption: None }),
    ];
    for (id, content) in ids.iter().zip(contents) {
        assert!(!sees(s, *id, a).await && !is_used(s, *id).await);
        s.append(s.message(chat, a, content).await).await;
        assert!(sees(s, *id, a).await && sees(s, *id, b).await && is_used(s, *id).await, "{id}");
        assert!(!sees(s, *id, stranger).await);
    }
    // A text about a file shows none.
    let id: MediaId = s.id();
    s.send(chat, a, &format!("{{\"media_id\":\"{id}\"}}")).await;
    assert!(!sees(s, id, b).await && !is_used(s, id).await);
    // The other side of a block sees none.
    let withheld: MediaId = s.id();
    s.append(NewMessage { withheld_from: Some(b), ..s.message(chat, a, picture(withheld)).await }).await;
    assert!(sees(s, withheld, a).await && !sees(s, withheld, b).await && is_used(s, withheld).await);
    // Nor does who deleted it for themselves; but it is still used.
    let hidden: MediaId = s.id();
    let message = s.append(s.message(chat, a, picture(hidden)).await).await;
    s.messages.hide(&s.viewer(chat, b), message.id, s.id(), None).await.expect("hidden");
    assert!(sees(s, hidden, a).await && !sees(s, hidden, b).await && is_used(s, hidden).await);
    // What was sent twice is seen as long as one of both is.
    s.append(s.message(chat, a, picture(hidden)).await).await;
    assert!(sees(s, hidden, b).await);
}

/// Case.
pub async fn a_deleted_or_expired_message_shows_no_file(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let (deleted, expired): (MediaId, MediaId) = (s.id(), s.id());
    let message = s.append(s.message(chat, a, picture(deleted)).await).await;
    assert!(sees(s, deleted, b).await);
    s.delete(&message).await;
    assert!(!sees(s, deleted, a).await && !sees(s, deleted, b).await && !is_used(s, deleted).await);

    let expires_at = Some(s.now().after(Duration::from_secs(60)));
    s.append(NewMessage { expires_at, ..s.message(chat, a, picture(expired)).await }).await;
    assert!(sees(s, expired, b).await);
    s.env.advance(Duration::from_secs(60));
    assert!(!sees(s, expired, a).await && !sees(s, expired, b).await);
    s.changes.expire(s.now(), 10).await.expect("expired");
    assert!(!is_used(s, expired).await);
}

/// Case.
pub async fn profiles_and_groups_that_show_a_file_are_named(s: &Subject) {
    let (user, other) = (s.user().await, s.user().await);
    let media = Media { uploader_id: user, ..s.media(Format::Jpeg) };
    assert!(showings(s, &media).await.is_empty());
    for user in [user, other] {
        wears(s, user, avatar_path(media.id)).await;
    }
    assert_eq!(showings(s, &media).await, [Showing::Profile(user)], "others do not keep a picture of somebody's visible");
    wears(s, user, "https://elsewhere.example/a.png".to_owned()).await;
    assert!(showings(s, &media).await.is_empty());

    let group = s.group(user, &[other]).await;
    s.set_picture(group, user, avatar_path(media.id)).await;
    assert_eq!(showings(s, &media).await, [Showing::Group(group)]);
    assert!(showings(s, &Media { uploader_id: s.user().await, ..media.clone() }).await.is_empty());
    wears(s, user, avatar_path(media.id)).await;
    assert_eq!(showings(s, &media).await.len(), 2);
    assert_eq!(s.media_uses.shown_by(&media, 1).await.expect("read").len(), 1);
}

/// Case.
pub async fn a_user_whose_status_shows_a_file_is_named(s: &Subject) {
    let (user, other) = (s.user().await, s.user().await);
    let media = Media { uploader_id: user, ..s.media(Format::Jpeg) };
    let show = async |owner, hours: u64| {
        let status = StatusPost {
            id: s.id(),
            user_id: owner,
            content: StatusContent::Image(media.id),
            caption: String::new(),
            bg_color: String::new(),
            created_at: s.now(),
            expires_at: s.now().after(Duration::from_secs(hours * 3600)),
        };
        assert!(s.statuses.create(&status, 100).await.expect("stored"));
        status
    };
    assert!(!s.media_uses.used(&[media.id]).await.expect("answered").contains(&media.id));
    let foreign = show(other, 9).await;
    assert!(showings(s, &media).await.is_empty(), "others do not make a file of somebody's visible");
    assert!(s.statuses.delete(other, foreign.id, s.now()).await.expect("deleted"));
    let (one, two) = (show(user, 1).await, show(user, 2).await);
    assert_eq!(showings(s, &media).await, [Showing::Status { owner: user, until: two.expires_at }]);
    assert_eq!(s.media_uses.used(&[media.id]).await.expect("answered"), [media.id]);
    for status in [one, two] {
        assert!(s.statuses.delete(user, status.id, s.now()).await.expect("deleted"));
    }
    assert!(showings(s, &media).await.is_empty());
    assert!(s.media_uses.used(&[media.id]).await.expect("answered").is_empty());
}

/// Case.
pub async fn used_files_are_told_from_unused_ones(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let ids: Vec<MediaId> = (0..200).map(|_| s.id()).collect();
    s.append(s.message(chat, a, picture(ids[3])).await).await;
    s.append(s.message(chat, b, text("nothing")).await).await;
    wears(s, b, avatar_path(ids[70])).await;
    let group = s.group(a, &[b]).await;
    s.set_picture(group, a, avatar_path(ids[199])).await;
    let used: BTreeSet<MediaId> = s.media_uses.used(&ids).await.expect("answered").into_iter().collect();
    assert_eq!(used, BTreeSet::from([ids[3], ids[70], ids[199]]));
    assert!(s.media_uses.used(&[]).await.expect("answered").is_empty());
}
