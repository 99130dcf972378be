//! Pushes: who gets them, when, and what they say, also after a crash and after an outage of the provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use wa_core::api::{AuthApi, ChatApi, CreateGroup, MessageApi, PresenceApi, PushApi, RegisterDevice, SubscriptionKeys, UserApi};
use wa_core::chat::AutoDeleteTimer;
use wa_core::error::StoreError;
use wa_core::event::Event;
use wa_core::id::{ChatId, ConnectionId, UserId};
use wa_core::limits::Limits;
use wa_core::ports::{Due, Note, PushOutcome, PushQueue, Stored, Turn, Viewer, Waiting};
use wa_core::push::{Lane, Platform, PushKey};
use wa_core::service::{Delivered, NotificationDeps, NotificationService};
use wa_core::session::Caller;
use wa_core::time::Timestamp;

use super::world::{World, bad_fields, notification_deps, notifications, text};

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(3);
const MS: Duration = Duration::from_millis(1);

fn device(token: &str) -> RegisterDevice {
    RegisterDevice { token: token.to_owned(), platform: None, keys: None }
}

impl World {
    /// Takes in what was announced.
    async fn take_in(&self) -> Vec<Arc<Event>> {
        let events = self.events().await;
        self.notifications.note(&events).await.expect("is noted");
        events
    }

    /// Takes in what was announced, and delivers what is due now.
    async fn deliver(&self) -> Vec<Delivered> {
        self.take_in().await;
        let mut delivered = Vec::new();
        for lane in Lane::ALL {
            for due in self.notifications.due(lane, 100_000).await.expect("is read") {
                delivered.extend(self.notifications.deliver(&due).await.expect("is delivered").delivered);
            }
        }
        delivered
    }

    /// Delivers, and tells the texts in the order of the tokens.
    async fn texts(&self) -> Vec<String> {
        self.deliver().await;
        let mut pushed = self.outside.pushed();
        pushed.sort();
        pushed.into_iter().map(|(token, title, body)| format!("{token}: {title}: {body}")).collect()
    }

    /// As [`World::user`], with a phone that wants pushes; the token is called as the user is numbered.
    async fn reachable(&self, number: u32) -> Caller {
        let caller = self.user(number).await;
        self.notifications.register(&caller, device(&number.to_string())).await.expect("is registered");
        caller
    }

    /// Alice and Bob, who has a phone, and their chat.
    async fn called(&self) -> (Caller, Caller, ChatId) {
        let (alice, bob) = (self.user(1).await, self.reachable(2).await);
        let chat = self.direct(&alice, &bob).await;
        (alice, bob, chat)
    }

    /// A group of these, the first its admin; that they were added was told.
    async fn group(&self, admin: &Caller, others: &[&Caller]) -> ChatId {
        let participant_ids = others.iter().map(|other| other.user_id).collect();
        let request = CreateGroup { name: "Friends".to_owned(), description: String::new(), participant_ids };
        let chat = self.chats.create_group(admin, request).await.expect("is made").chat_id;
        self.texts().await;
        chat
    }

    async fn come(&self, user: &Caller) -> ConnectionId {
        let connection = ConnectionId::from_uuid(uuid::Uuid::from_u128(user.user_id.as_uuid().as_u128()));
        self.stores.presence.connect(user.user_id, connection).await.expect("is noted");
        connection
    }

    async fn go(&self, user: &Caller, connection: ConnectionId) {
        self.stores.presence.disconnect(user.user_id, connection).await.expect("is noted");
    }

    fn provider_says(&self, outcomes: impl IntoIterator<Item = PushOutcome>) {
        self.outside.answers.lock().expect("is whole").extend(outcomes);
    }
}

#[tokio::test]
async fn a_direct_message_is_pushed_at_once_and_once() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    let sent = world.say(&alice, chat, "hello").await;
    assert_eq!(world.deliver().await, [Delivered { outcome: PushOutcome::Sent, messages: 1 }]);
    let notices = world.outside.notices();
    let [(token, notice)] = notices.as_slice() else { panic!("{notices:?}") };
    let data = notice.data();
    assert_eq!(token, "2");
    for (key, value) in [
        ("type", "message.new"),
        ("title", "User 1"),
        ("body", "hello"),
        ("chat_id", &chat.to_string()),
        ("chatId", &chat.to_string()),
        ("chat_type", "direct"),
        ("message_id", &sent.message_id.to_string()),
        ("sender_id", &alice.user_id.to_string()),
        ("sender_name", "User 1"),
        ("senderName", "User 1"),
        ("sender_avatar", ""),
        ("message_preview", "hello"),
        ("messagePreview", "hello"),
        ("message_type", "text"),
        ("timestamp", &sent.created_at.to_string()),
    ] {
        assert_eq!(data[key], value, "{key}");
    }
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, [] as [String; 0]);
    // Each of several is told on its own; the sender's own devices are not.
    world.notifications.register(&alice, device("1")).await.expect("is registered");
    for body in ["one", "two", "three"] {
        world.say(&alice, chat, body).await;
    }
    assert_eq!(world.texts().await, ["2: User 1: one", "2: User 1: three", "2: User 1: two"]);
    world.say(&bob, chat, "yes?").await;
    assert_eq!(world.texts().await, ["1: User 2: yes?"]);
}

#[tokio::test]
async fn messages_of_a_group_within_the_window_are_one_push_at_its_end() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user(1).await, world.reachable(2).await, world.reachable(3).await);
    let chat = world.group(&alice, &[&bob, &carol]).await;
    // `say` lets a millisecond pass.
    world.say(&alice, chat, "first").await;
    world.take_in().await;
    for (wait, body) in [(500, "second"), (500, "third"), (500, "fourth"), (499, "fifth")] {
        world.env.advance(MS * wait - MS);
        world.say(if body == "third" { &carol } else { &alice }, chat, body).await;
        assert_eq!(world.texts().await, [] as [String; 0]);
    }
    world.env.advance(Duration::from_millis(1000));
    assert_eq!(world.texts().await, [] as [String; 0], "at 2,999 ms");
    world.env.advance(MS);
    let at_the_end = world.texts().await;
    assert_eq!(at_the_end, ["2: Friends: 5 new messages from Friends", "3: Friends: 4 new messages from Friends"], "her own does not count");
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, [] as [String; 0]);
    // A single one reads as it is, under the sender's name, and begins a window of its own.
    world.say(&bob, chat, "sixth").await;
    world.take_in().await;
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, ["3: User 2: sixth"]);
}

#[tokio::test]
async fn a_window_is_of_one_recipient_and_chat() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.reachable(2).await);
    let (one, two) = (world.group(&alice, &[&bob]).await, world.group(&alice, &[&bob]).await);
    world.say(&alice, one, "a").await;
    world.take_in().await;
    world.env.advance(SECOND * 2);
    world.say(&alice, two, "b").await;
    world.take_in().await;
    world.env.advance(SECOND);
    assert_eq!(world.texts().await, ["2: User 1: a"]);
    world.env.advance(SECOND * 2);
    assert_eq!(world.texts().await, ["2: User 1: b"]);
}

#[tokio::test]
async fn who_is_online_when_the_push_leaves_gets_none() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    let carol = world.reachable(3).await;
    let group = world.group(&alice, &[&bob, &carol]).await;
    let (of_bob, of_carol) = (world.come(&bob).await, world.come(&carol).await);
    world.say(&alice, chat, "direct").await;
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.say(&alice, group, "group").await;
    world.take_in().await;
    world.env.advance(SECOND);
    world.go(&carol, of_carol).await;
    world.env.advance(SECOND * 2);
    assert_eq!(world.texts().await, ["3: User 1: group"], "Bob is here, Carol went");
    // What was not pushed then is not pushed later.
    world.go(&bob, of_bob).await;
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.say(&alice, group, "again").await;
    world.take_in().await;
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, ["2: User 1: again", "3: User 1: again"]);
}

#[tokio::test]
async fn who_muted_the_chat_gets_none_until_the_mute_ends() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    world.chats.mute(&bob, chat, true, Some(super::world::now(&world).after(SECOND * 10))).await.expect("is muted");
    world.say(&alice, chat, "muted").await;
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.env.advance(SECOND * 10);
    world.say(&alice, chat, "heard").await;
    assert_eq!(world.texts().await, ["2: User 1: heard"]);
    world.chats.mute(&bob, chat, true, None).await.expect("is muted");
    world.say(&alice, chat, "for ever").await;
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.chats.mute(&bob, chat, false, None).await.expect("is not");
    world.say(&alice, chat, "heard again").await;
    assert_eq!(world.texts().await, ["2: User 1: heard again"]);
}

#[tokio::test]
async fn who_blocked_the_sender_gets_none_of_a_direct_chat_and_those_of_groups() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    let group = world.group(&alice, &[&bob]).await;
    world.say(&alice, chat, "before").await;
    world.take_in().await;
    world.users.set_blocked(&bob, alice.user_id, true).await.expect("is blocked");
    assert_eq!(world.texts().await, [] as [String; 0], "blocked before it left");
    world.say(&alice, chat, "withheld").await;
    world.say(&alice, group, "in the group").await;
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, ["2: User 1: in the group"]);
    world.users.set_blocked(&bob, alice.user_id, false).await.expect("is unblocked");
    world.say(&alice, chat, "after").await;
    assert_eq!(world.texts().await, ["2: User 1: after"]);
}

#[tokio::test]
async fn what_was_deleted_expired_or_read_before_its_push_leaves_is_not_pushed() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.reachable(2).await);
    let chat = world.group(&alice, &[&bob]).await;
    let send = async |body: &str| {
        let sent = world.say(&alice, chat, body).await;
        world.take_in().await;
        sent
    };
    let pushed = async || {
        world.env.advance(WINDOW);
        world.texts().await
    };
    send("told").await;
    assert_eq!(pushed().await, ["2: User 1: told"]);
    let sent = send("deleted").await;
    world.messages.delete_for_everyone(&alice, sent.message_id, None).await.expect("is deleted");
    assert_eq!(pushed().await, [] as [String; 0]);
    let sent = send("hidden").await;
    world.messages.delete_for_me(&bob, sent.message_id, None).await.expect("is hidden");
    assert_eq!(pushed().await, [] as [String; 0]);
    let sent = send("read").await;
    world.read(&bob, &sent).await;
    assert_eq!(pushed().await, [] as [String; 0]);
    send("removed").await;
    world.chats.remove_member(&alice, chat, bob.user_id).await.expect("is removed");
    assert_eq!(pushed().await, [] as [String; 0]);
}

#[tokio::test]
async fn what_disappeared_before_its_push_leaves_is_not_pushed() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.reachable(2).await);
    let chat = world.direct(&alice, &bob).await;
    world.chats.set_timer(&alice, chat, AutoDeleteTimer::Day).await.expect("is set");
    world.say(&alice, chat, "short").await;
    world.provider_says([PushOutcome::Failed { retry_after: None }]);
    world.deliver().await;
    world.outside.notices();
    world.env.advance(SECOND * 86_400);
    assert_eq!(world.texts().await, [] as [String; 0]);
}

#[tokio::test]
async fn being_added_to_a_group_is_pushed_and_no_other_system_message() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user(1).await, world.reachable(2).await, world.reachable(3).await);
    let request = CreateGroup { name: "Friends".to_owned(), description: String::new(), participant_ids: vec![bob.user_id] };
    let chat = world.chats.create_group(&alice, request).await.expect("is made").chat_id;
    assert_eq!(world.texts().await, ["2: Friends: You were added by User 1"]);
    world.chats.add_members(&alice, chat, &[carol.user_id]).await.expect("is added");
    world.chats.set_timer(&alice, chat, AutoDeleteTimer::Day).await.expect("is set");
    assert_eq!(world.texts().await, ["3: Friends: You were added by User 1"]);
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, [] as [String; 0]);
    // Who comes by an invite was added by nobody; who comes back is told again; who went again is not.
    let code = world.chats.create_invite(&alice, chat).await.expect("is made");
    world.chats.remove_member(&bob, chat, bob.user_id).await.expect("leaves");
    world.chats.join(&bob, &code).await.expect("joins");
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.chats.remove_member(&bob, chat, bob.user_id).await.expect("leaves");
    world.chats.add_members(&alice, chat, &[bob.user_id]).await.expect("is added");
    assert_eq!(world.texts().await, ["2: Friends: You were added by User 1"]);
    world.chats.remove_member(&alice, chat, carol.user_id).await.expect("is removed");
    world.chats.add_members(&alice, chat, &[carol.user_id]).await.expect("is added");
    world.take_in().await;
    world.chats.remove_member(&alice, chat, carol.user_id).await.expect("is removed");
    assert_eq!(world.texts().await, [] as [String; 0]);
}

#[tokio::test]
async fn an_event_that_comes_again_after_a_crash_is_not_pushed_again_and_none_is_lost() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    let group = world.group(&alice, &[&bob]).await;
    world.say(&alice, chat, "direct").await;
    world.say(&alice, group, "one").await;
    let first = world.take_in().await;
    // A new process: it knows nothing but what is stored, and gets the events once more.
    let again = notifications(&world.stores, &world.outside, &world.env, &Arc::new(Limits::default()));
    again.resume().await.expect("is resumed");
    again.note(&first).await.expect("is noted");
    assert_eq!(again.due(Lane::Phones, 10).await.expect("is read"), [], "what was left waits for those who come back");
    world.say(&alice, group, "two").await;
    let second = world.events().await;
    again.note(&second).await.expect("is noted");
    world.env.advance(WINDOW);
    for due in again.due(Lane::Phones, 10).await.expect("is read") {
        again.deliver(&due).await.expect("is delivered");
    }
    let mut pushed = world.outside.pushed();
    pushed.sort();
    assert_eq!(pushed.iter().map(|(_, _, body)| body.as_str()).collect::<Vec<_>>(), ["2 new messages from Friends", "direct"]);
    // And a third, which gets everything again.
    let third = notifications(&world.stores, &world.outside, &world.env, &Arc::new(Limits::default()));
    third.resume().await.expect("is resumed");
    for events in [first, second] {
        third.note(&events).await.expect("is noted");
    }
    world.env.advance(WINDOW * 2);
    assert_eq!(third.due(Lane::Phones, 10).await.expect("is read"), []);
}

/// A queue that takes notes, and for a while nothing of what became of them.
struct Stuck {
    queue: Arc<dyn PushQueue>,
    failures: AtomicU32,
}

impl Stuck {
    fn try_to_write(&self) -> Stored<()> {
        let fails = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails { Err(StoreError::unavailable("stuck", "it takes no writes")) } else { Ok(()) }
    }
}

#[async_trait]
impl PushQueue for Stuck {
    async fn reachable(&self, users: &[UserId]) -> Stored<Vec<UserId>> {
        self.queue.reachable(users).await
    }
    async fn note(&self, notes: Vec<Note>) -> Stored<()> {
        self.queue.note(notes).await
    }
    async fn take_turn(&self) -> Stored<Turn> {
        self.queue.take_turn().await
    }
    async fn due(&self, lane: Lane, by: Timestamp, failed: u32, limit: usize) -> Stored<Vec<Due>> {
        self.queue.due(lane, by, failed, limit).await
    }
    async fn waiting(&self, viewer: &Viewer, since: Timestamp) -> Stored<Option<Waiting>> {
        self.queue.waiting(viewer, since).await
    }
    async fn told(&self, key: PushKey, up_to: i64, next_due: Timestamp) -> Stored<()> {
        self.try_to_write()?;
        self.queue.told(key, up_to, next_due).await
    }
    async fn postpone(&self, key: PushKey, until: Timestamp, failed: bool) -> Stored<()> {
        self.try_to_write()?;
        self.queue.postpone(key, until, failed).await
    }
    async fn resume(&self, not_before: Timestamp) -> Stored<()> {
        self.queue.resume(not_before).await
    }
}

#[tokio::test]
async fn what_became_of_a_push_is_stored_later_and_the_push_not_sent_again() {
    let world = World::new().await;
    let (alice, _, chat) = world.called().await;
    let queue = Arc::new(Stuck { queue: world.stores.push_queue.clone(), failures: AtomicU32::new(0) });
    let deps = notification_deps(&world.stores, &world.outside, &world.env, &Arc::new(Limits::default()));
    let stuck = NotificationService::new(NotificationDeps { queue: queue.clone(), ..deps });
    let due = async || stuck.due(Lane::Phones, 10).await.expect("is read");
    for (outcome, wait) in [(PushOutcome::Sent, Duration::ZERO), (PushOutcome::Failed { retry_after: None }, SECOND * 2)] {
        world.say(&alice, chat, &format!("{outcome:?}")).await;
        stuck.note(&world.events().await).await.expect("is noted");
        world.provider_says([outcome.clone()]);
        queue.failures.store(2, Ordering::SeqCst);
        let taken = due().await;
        let handed = stuck.deliver(&taken[0]).await.expect("is looked up");
        assert_eq!(handed.delivered, [Delivered { outcome, messages: 1 }]);
        let unsettled = handed.unsettled.expect("nothing could be stored");
        assert!(unsettled.settle().await.is_err(), "still not");
        assert_eq!(due().await, taken);
        unsettled.settle().await.expect("is stored");
        assert_eq!(due().await, []);
        assert_eq!(world.outside.pushed().len(), 1);
        world.env.advance(wait);
    }
    assert_eq!(due().await.len(), 1, "the one that failed comes again");
}

#[tokio::test]
async fn a_device_that_comes_while_a_window_is_open_misses_nothing() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.reachable(2).await);
    let chat = world.group(&alice, &[&bob]).await;
    world.say(&alice, chat, "before").await;
    world.take_in().await;
    world.notifications.register(&bob, device("second")).await.expect("is registered");
    world.say(&alice, chat, "after").await;
    world.take_in().await;
    world.env.advance(WINDOW);
    assert_eq!(world.texts().await, ["2: Friends: 2 new messages from Friends", "second: User 1: after"]);
}

#[tokio::test]
async fn a_device_whose_login_has_ended_registers_no_token() {
    let world = World::new().await;
    let login = world.login(&super::world::phone(7)).await;
    let caller = Caller { user_id: login.user.id, device_id: login.device_id };
    world.notifications.register(&caller, device("first")).await.expect("is registered");
    world.auth.remove_device(&caller, caller.device_id).await.expect("is ended");
    let refused = world.notifications.register(&caller, device("second")).await.expect_err("is refused");
    assert!(matches!(refused, wa_core::Error::Unauthenticated(wa_core::error::Unauthenticated::Invalid)), "{refused:?}");
}

#[tokio::test]
async fn a_push_that_fails_is_retried_three_times_soon_and_then_waits() {
    let world = World::new().await;
    let (alice, _, chat) = world.called().await;
    world.say(&alice, chat, "stubborn").await;
    world.provider_says(std::iter::repeat_n(PushOutcome::Failed { retry_after: None }, 5));
    assert_eq!(world.texts().await.len(), 1);
    // Each pause may be a fifth longer.
    for pause in [1200, 2400, 4800, 36_000] {
        world.env.advance(MS * (pause / 2));
        assert_eq!(world.texts().await, [] as [String; 0]);
        world.env.advance(MS * (pause / 2));
        assert_eq!(world.texts().await.len(), 1, "after {pause} ms");
    }
    world.env.advance(SECOND * 72);
    assert_eq!(world.texts().await, ["2: User 1: stubborn"]);
    world.env.advance(SECOND * 1000);
    assert_eq!(world.texts().await, [] as [String; 0]);
}

#[tokio::test]
async fn the_provider_says_when_it_wants_to_be_asked_again() {
    let world = World::new().await;
    let (alice, _, chat) = world.called().await;
    world.say(&alice, chat, "patient").await;
    world.provider_says([PushOutcome::Failed { retry_after: Some(SECOND * 20) }]);
    assert_eq!(world.texts().await.len(), 1);
    world.env.advance(SECOND * 20 - MS);
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.env.advance(SECOND * 4 + MS);
    assert_eq!(world.texts().await, ["2: User 1: patient"]);
}

#[tokio::test]
async fn after_an_outage_each_chat_is_one_push_and_the_expired_are_none() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    let group = world.group(&alice, &[&bob]).await;
    let outage = || world.provider_says(std::iter::repeat_n(PushOutcome::Resting { wait: SECOND * 60 }, 100));
    outage();
    for number in 0..10 {
        world.say(&alice, chat, &format!("direct {number}")).await;
        world.say(&alice, group, &format!("group {number}")).await;
        world.deliver().await;
        world.env.advance(SECOND * 70);
    }
    world.outside.notices();
    world.outside.answers.lock().expect("is whole").clear();
    assert_eq!(world.texts().await, ["2: Friends: 10 new messages from Friends", "2: User 1: 10 new messages from User 1"]);
    // Down for longer than a push is worth sending.
    outage();
    world.say(&alice, chat, "old").await;
    world.deliver().await;
    world.env.advance(SECOND * 86_400);
    world.outside.notices();
    world.outside.answers.lock().expect("is whole").clear();
    assert_eq!(world.texts().await, [] as [String; 0]);
    world.say(&alice, chat, "new").await;
    assert_eq!(world.texts().await, ["2: User 1: new"], "the old is gone for good");
}

#[tokio::test]
async fn a_token_that_its_provider_does_not_know_is_removed() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    world.notifications.register(&bob, device("second")).await.expect("is registered");
    world.provider_says([PushOutcome::Gone]);
    world.say(&alice, chat, "one").await;
    world.deliver().await;
    let [(gone, ..), (kept, ..)] = world.outside.pushed().try_into().expect("two tokens");
    world.say(&alice, chat, "two").await;
    assert_eq!(world.texts().await, [format!("{kept}: User 1: two")]);
    assert_ne!(gone, kept);
}

#[tokio::test]
async fn a_refused_push_is_not_sent_again_and_fails_no_other_token() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    world.notifications.register(&bob, device("second")).await.expect("is registered");
    world.provider_says([PushOutcome::Refused, PushOutcome::Failed { retry_after: None }]);
    world.say(&alice, chat, "one").await;
    assert_eq!(world.texts().await.len(), 2);
    world.env.advance(SECOND * 2);
    assert_eq!(world.texts().await.len(), 1, "only the one that failed comes again");
}

#[tokio::test]
async fn texts_are_cut_and_files_are_named() {
    let world = World::new().await;
    let (alice, _, chat) = world.called().await;
    let long = "é".repeat(101);
    world.say(&alice, chat, &long).await;
    assert_eq!(world.texts().await, [format!("2: User 1: {}…", "é".repeat(99))]);
    let mut place = text(chat, "place", "");
    (place.kind, place.payload) = ("location".to_owned(), json!({"latitude": 1.0, "longitude": 2.0}));
    world.messages.send(&alice, place).await.expect("is sent");
    assert_eq!(world.texts().await, ["2: User 1: 📍 Location"]);
}

#[tokio::test]
async fn the_picture_of_the_sender_is_pushed_only_to_those_who_may_see_it() {
    let world = World::new().await;
    let (alice, bob, chat) = world.called().await;
    let update = wa_core::user::ProfileUpdate { avatar_url: Some("/a.jpg".to_owned()), ..Default::default() };
    world.users.update_me(&alice, update).await.expect("is set");
    let avatar = async |body: &str| {
        world.say(&alice, chat, body).await;
        world.deliver().await;
        world.outside.notices().remove(0).1.data()["sender_avatar"].clone()
    };
    assert_eq!(avatar("one").await, "/a.jpg");
    let hidden = wa_core::api::PrivacyUpdate { profile_photo: Some(wa_core::privacy::ShownTo::Contacts), ..Default::default() };
    world.users.set_privacy(&alice, hidden).await.expect("is set");
    assert_eq!(avatar("two").await, "");
    world.users.sync_contacts(&alice, &[super::world::phone(2)]).await.expect("are synced");
    assert_eq!(avatar("three").await, "/a.jpg");
    let _ = bob;
}

#[tokio::test]
async fn a_burst_to_two_thousand_is_taken_in_pages() {
    let world = World::with(Limits { group_size: 20_000, ..Limits::default() }).await;
    let alice = world.user(1).await;
    let mut others: Vec<UserId> = Vec::new();
    for number in 2..2_002 {
        others.push(world.reachable(number).await.user_id);
    }
    let request = CreateGroup { name: "Crowd".to_owned(), description: String::new(), participant_ids: others };
    let chat = world.chats.create_group(&alice, request).await.expect("is made").chat_id;
    world.events().await;
    // Few windows are kept: what is not known is noted again, which changes nothing.
    let small = notifications(&world.stores, &world.outside, &world.env, &Arc::new(Limits { push_windows: 100, ..Limits::default() }));
    for body in ["one", "two", "three"] {
        world.say(&alice, chat, body).await;
        small.note(&world.events().await).await.expect("is noted");
    }
    world.env.advance(WINDOW);
    let mut pushed = 0;
    loop {
        let page = small.due(Lane::Phones, 64).await.expect("is read");
        assert!(page.len() <= 64);
        if page.is_empty() {
            break;
        }
        for due in &page {
            assert_eq!(small.deliver(due).await.expect("is delivered").delivered, [Delivered { outcome: PushOutcome::Sent, messages: 3 }]);
            pushed += 1;
        }
    }
    assert_eq!(pushed, 2_000);
    let _ = world.presence.expire_typing().await;
}

#[tokio::test]
async fn what_is_registered_is_checked() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let keys = |p256dh: &str, auth: &str| Some(SubscriptionKeys { p256dh: p256dh.to_owned(), auth: auth.to_owned() });
    let fields =
        async |token: &str, platform, keys| bad_fields(world.notifications.register(&alice, RegisterDevice { token: token.to_owned(), platform, keys }).await);
    assert_eq!(fields("", None, None).await, ["token"]);
    assert_eq!(fields("two words", None, None).await, ["token"]);
    assert_eq!(fields(&"x".repeat(2049), None, None).await, ["token"]);
    assert_eq!(fields("bad", None, None).await, ["token"], "by the provider's own check");
    assert_eq!(fields("https://push.example.org", Some(Platform::Web), None).await, ["keys"]);
    assert_eq!(fields(" ", Some(Platform::Web), keys("x", "y")).await, ["token", "keys.p256dh"]);
    world.notifications.register(&alice, device(&"x".repeat(2048))).await.expect("is registered");
    world.notifications.unregister(&alice, None).await.expect("is forgotten");
    world.notifications.unregister(&alice, Some("never there")).await.expect("is nothing");
}
