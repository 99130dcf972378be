//! Files that nothing refers to any more are swept, and nothing else is; who may upload and show what.

use std::time::Duration;

use serde_json::json;
use wa_core::api::{AvatarOf, ChatApi as _, CreateGroup, MediaApi as _, MessageApi as _, Purpose, SendMessage, Swept, UserApi as _};
use wa_core::chat::{AutoDeleteTimer, Role};
use wa_core::group::ProfileChange;
use wa_core::id::{ChatId, MediaId};
use wa_core::limits::Limits;
use wa_core::link::avatar_path;
use wa_core::media::{Format, MediaKind, ObjectKey};
use wa_core::ports::{Env as _, EnvExt as _};
use wa_core::session::Caller;
use wa_core::user::ProfileUpdate;

use crate::world::{World, refused};

/// A picture of one pixel.
const PIXEL: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0,
    0, 0x0d, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0, 0x1f, 0, 5, 0, 1, 0xff, 0x89, 0x99, 0x3d, 0x1d, 0, 0, 0, 0, b'I', b'E', b'N',
    b'D', 0xae, 0x42, 0x60, 0x82,
];

const DAY: Duration = Duration::from_secs(86_400);

impl World {
    async fn upload(&self, caller: &Caller) -> MediaId {
        let mut upload = self.media.begin(caller, Purpose::Send(Some(MediaKind::Image))).await.expect("begins");
        upload.write(PIXEL).await.expect("is written");
        self.media.store(caller, upload, MediaKind::Image, None).await.expect("is stored").media_id
    }

    async fn avatar(&self, caller: &Caller, of: AvatarOf) -> MediaId {
        let mut upload = self.media.begin(caller, Purpose::Avatar(of)).await.expect("begins");
        upload.write(PIXEL).await.expect("is written");
        let url = self.media.set_avatar(caller, of, upload).await.expect("is set");
        url.rsplit('/').next().expect("an id").parse().expect("an id")
    }

    async fn group_with(&self, admin: &Caller, member: &Caller) -> ChatId {
        let group = CreateGroup { name: "Group".to_owned(), description: String::new(), participant_ids: vec![member.user_id] };
        self.chats.create_group(admin, group).await.expect("is made").chat_id
    }

    async fn show(&self, caller: &Caller, chat: ChatId, media: MediaId, key: &str) -> wa_core::Result<wa_core::message::MessageView> {
        let payload = json!({ "media_id": media });
        let message = SendMessage { chat_id: chat, client_msg_id: key.to_owned(), kind: "image".to_owned(), payload, reply_to_message_id: None, origin: None };
        self.messages.send(caller, message).await.map(|sent| sent.message)
    }

    async fn is_kept(&self, media: MediaId) -> bool {
        let object = self.stores.blobs.read(&ObjectKey::Original(media, Format::Png), None).await.expect("is read").is_some();
        let avatar = self.stores.blobs.read(&ObjectKey::Original(media, Format::Jpeg), None).await.expect("is read").is_some();
        let row = !self.stores.media.known(&[media]).await.expect("is read").is_empty();
        assert_eq!(row, object || avatar, "a file and what is known of it go together");
        row
    }

    async fn sweep(&self) -> Swept {
        self.media.sweep().await.expect("sweeps")
    }
}

#[tokio::test]
async fn what_nothing_refers_to_is_swept_after_a_day_and_nothing_else_is() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let group = world.group_with(&alice, &bob).await;
    let (orphan, sent, own, of_group) = (
        world.upload(&alice).await,
        world.upload(&alice).await,
        world.avatar(&alice, AvatarOf::Caller).await,
        world.avatar(&alice, AvatarOf::Group(group)).await,
    );
    let message = world.show(&alice, chat, sent, "k").await.expect("is sent");
    world.env.advance(DAY - Duration::from_secs(1));
    assert_eq!(world.sweep().await, Swept::default());
    assert!(world.is_kept(orphan).await);
    world.env.advance(Duration::from_secs(2));
    assert_eq!(world.sweep().await, Swept { files: 1, objects: 0 });
    assert!(!world.is_kept(orphan).await);
    assert_eq!(refused(world.media.get(&alice, orphan).await), "NOT_FOUND");
    for kept in [sent, own, of_group] {
        assert!(world.is_kept(kept).await);
    }
    // What was sent on is kept by that message.
    let other = world.direct(&bob, &world.user(3).await).await;
    let forward = wa_core::api::ForwardMessage { message_id: message.message_id, target_chat_ids: vec![other], key: None };
    let forwarded = world.messages.forward(&bob, forward).await.expect("is forwarded")[0].message_id;
    world.messages.delete_for_everyone(&alice, message.message_id, None).await.expect("is deleted");
    world.env.advance(2 * DAY);
    assert_eq!(world.sweep().await, Swept::default());
    world.messages.delete_for_everyone(&bob, forwarded, None).await.expect("is deleted");
    assert_eq!(world.sweep().await, Swept { files: 1, objects: 0 });
    // A picture goes when it is taken off, at once.
    world.users.update_me(&alice, ProfileUpdate { avatar_url: Some(String::new()), ..ProfileUpdate::default() }).await.expect("is changed");
    assert!(!world.is_kept(own).await && world.is_kept(of_group).await);
}

#[tokio::test]
async fn the_file_of_an_expired_message_is_swept() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.chats.set_timer(&bob, chat, AutoDeleteTimer::Day).await.expect("is set");
    let media = world.upload(&alice).await;
    world.show(&alice, chat, media, "k").await.expect("is sent");
    world.env.advance(2 * DAY);
    // It takes up room until its row is gone.
    assert_eq!(world.sweep().await, Swept::default());
    world.messages.expire().await.expect("expires");
    assert_eq!(world.sweep().await, Swept { files: 1, objects: 0 });
}

#[tokio::test]
async fn whoever_sends_an_old_file_is_not_overtaken_by_the_sweep() {
    let world = World::new().await;
    let (alice, _, chat) = world.pair().await;
    let media = world.upload(&alice).await;
    world.env.advance(2 * DAY);
    // What the sweep would do next, had it looked just before: it finds the file used again.
    let before = world.env.now();
    let unused = world.stores.media.unused(before, None, 10).await.expect("is read");
    assert_eq!(unused.len(), 1);
    let message = world.show(&alice, chat, media, "k").await.expect("is sent");
    assert!(!world.stores.media.release(media, before).await.expect("is answered"));
    assert_eq!(world.sweep().await, Swept::default());
    assert!(message.payload.to_value()["media_url"].is_string());
    // And the other way round: what was released cannot be sent any more.
    let late = world.upload(&alice).await;
    world.env.advance(2 * DAY);
    assert!(world.stores.media.release(late, world.env.now()).await.expect("is answered"));
    assert_eq!(refused(world.show(&alice, chat, late, "l").await), "VALIDATION_ERROR");
    // The sweep ends what one before it began.
    assert_eq!(world.sweep().await, Swept { files: 1, objects: 0 });
    assert!(!world.is_kept(late).await);
}

#[tokio::test]
async fn objects_that_a_crash_left_are_swept() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let kept = world.upload(&alice).await;
    let id: MediaId = world.env.new_id();
    for key in [ObjectKey::Original(id, Format::Pdf), ObjectKey::Thumbnail(id)] {
        world.stores.blobs.put(&key, b"left".to_vec()).await.expect("is put");
    }
    // When objects were put is told by the disk's clock, which the world's is behind.
    let put_at = world.stores.blobs.list(None, 10).await.expect("are listed").iter().map(|object| object.stored_at).max().expect("there are some");
    world.env.advance(put_at.since(world.env.now()));
    world.stores.media.mark_used(kept, world.env.now()).await.expect("is answered");
    assert_eq!(world.sweep().await, Swept::default());
    world.env.advance(DAY + Duration::from_secs(60));
    world.stores.media.mark_used(kept, world.env.now()).await.expect("is answered");
    assert_eq!(world.sweep().await, Swept { files: 0, objects: 2 });
    assert!(world.is_kept(kept).await);
}

#[tokio::test]
async fn a_file_that_cannot_be_deleted_keeps_no_other_one() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let files = [world.upload(&alice).await, world.upload(&alice).await, world.upload(&alice).await];
    *world.blobs.keeps.lock().expect("is whole") = Some(files[0]);
    world.env.advance(2 * DAY);
    assert_eq!(refused(world.media.sweep().await), "UNAVAILABLE");
    assert!(!world.is_kept(files[1]).await && !world.is_kept(files[2]).await);
    *world.blobs.keeps.lock().expect("is whole") = None;
    assert_eq!(world.sweep().await, Swept { files: 1, objects: 0 });
    assert!(!world.is_kept(files[0]).await);
}

fn pictured(id: MediaId) -> ProfileUpdate {
    ProfileUpdate { avatar_url: Some(avatar_path(id)), ..ProfileUpdate::default() }
}

#[tokio::test]
async fn nobody_makes_a_picture_of_what_somebody_else_uploaded() {
    let world = World::new().await;
    let (alice, bob, _) = world.pair().await;
    let group = world.group_with(&bob, &alice).await;
    let of_group = |id| ProfileChange { avatar_url: Some(avatar_path(id)), ..ProfileChange::default() };
    let secret = world.upload(&alice).await;
    assert_eq!(refused(world.users.update_me(&bob, pictured(secret)).await), "VALIDATION_ERROR");
    assert_eq!(refused(world.chats.update(&bob, group, of_group(secret)).await), "VALIDATION_ERROR");
    assert_eq!(refused(world.media.avatar(secret).await), "NOT_FOUND");
    let whole = ProfileUpdate { avatar_url: Some(format!("http://chat.example{}", avatar_path(secret))), ..ProfileUpdate::default() };
    assert_eq!(refused(world.users.update_me(&bob, whole).await), "VALIDATION_ERROR");
    // One's own may be shown, and what is shown already may be said again.
    let own = world.upload(&bob).await;
    for _ in 0..2 {
        world.users.update_me(&bob, pictured(own)).await.expect("is changed");
        world.chats.update(&bob, group, of_group(own)).await.expect("is changed");
    }
    world.media.avatar(own).await.expect("is shown");
    let role = world.chats.set_role(&bob, group, alice.user_id, Role::Admin).await;
    role.expect("is made an admin");
    world.chats.update(&alice, group, of_group(own)).await.expect("says what is so already");
    world.env.advance(2 * DAY);
    assert_eq!(world.sweep().await, Swept { files: 1, objects: 0 });
    assert!(world.is_kept(own).await && !world.is_kept(secret).await);
}

#[tokio::test]
async fn a_picture_whose_change_failed_is_left_to_the_sweep() {
    let world = World::new().await;
    let (alice, bob, _) = world.pair().await;
    let group = world.group_with(&alice, &bob).await;
    let mut upload = world.media.begin(&alice, Purpose::Avatar(AvatarOf::Group(group))).await.expect("begins");
    upload.write(PIXEL).await.expect("is written");
    world.chats.set_role(&alice, group, bob.user_id, Role::Admin).await.expect("is made an admin");
    world.chats.set_role(&bob, group, alice.user_id, Role::Member).await.expect("is one no more");
    assert_eq!(refused(world.media.set_avatar(&alice, AvatarOf::Group(group), upload).await), "NOT_ADMIN");
    // Not every error means that nothing changed.
    assert_eq!(world.stores.blobs.list(None, 10).await.expect("are listed").len(), 1);
    world.env.advance(2 * DAY);
    assert_eq!(world.sweep().await, Swept { files: 1, objects: 0 });
}

#[tokio::test]
async fn one_user_takes_some_of_the_places_for_uploads_only() {
    let world = World::new().await;
    let (alice, bob, _) = world.pair().await;
    let begin = async |caller: &Caller| world.media.begin(caller, Purpose::Send(None)).await;
    let mut uploads = Vec::new();
    for _ in 0..Limits::default().uploads_of_user {
        uploads.push(begin(&alice).await.expect("begins"));
    }
    assert_eq!(refused(begin(&alice).await), "RATE_LIMITED");
    let other = begin(&bob).await.expect("begins");
    uploads.pop();
    let again = begin(&alice).await.expect("begins");
    assert_eq!(refused(begin(&alice).await), "RATE_LIMITED");
    drop((uploads, other, again));
    begin(&alice).await.expect("begins");
}

#[tokio::test]
async fn a_picture_that_cannot_be_made_smaller_is_refused_with_the_reason() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let mut huge = include_bytes!("../../../wa-storage/tests/media/progressive.jpg").to_vec();
    let size = huge.windows(5).position(|window| window == b"\xff\xc2\0\x11\x08").expect("a frame") + 5;
    huge[size..size + 4].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    let mut upload = world.media.begin(&alice, Purpose::Avatar(AvatarOf::Caller)).await.expect("begins");
    upload.write(&huge).await.expect("is written");
    let Err(wa_core::Error::MediaInvalidType(why)) = world.media.set_avatar(&alice, AvatarOf::Caller, upload).await else { panic!("is refused") };
    assert!(why.contains("too many pixels"), "{why}");
}
