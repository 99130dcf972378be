//! The contract of `PushQueue`.

use std::time::Duration;

use wa_core::id::{ChatId, UserId};
use wa_core::message::{Content, System};
use wa_core::ports::{Due, NewDeviceToken, NewMessage, Note, Viewer};
use wa_core::push::{Lane, Platform, PushKind};
use wa_core::time::Timestamp;

use super::Subject;
use super::people::text;

const WINDOW: Duration = Duration::from_secs(3);

impl Subject {
    fn note(&self, user: UserId, chat: ChatId, number: i64) -> Note {
        let (due_at, at) = (self.now().after(WINDOW), self.now());
        Note { user_id: user, chat_id: chat, kind: PushKind::Messages, first: number, last: number, by: None, due_at, at }
    }

    async fn noted(&self, notes: impl IntoIterator<Item = Note>) {
        self.push_queue.note(notes.into_iter().collect()).await.expect("noted");
    }

    /// What is due after so long.
    async fn due_in(&self, wait: Duration) -> Vec<Due> {
        self.push_queue.due(Lane::Phones, self.now().after(wait), u32::MAX, 100).await.expect("read")
    }

    /// Two users and their chat; the second has a token.
    async fn pushed(&self) -> (UserId, UserId, ChatId) {
        let (a, b, chat) = self.direct().await;
        self.register(b, self.id(), &b.to_string()).await;
        (a, b, chat)
    }
}

fn range(due: &Due) -> (i64, i64) {
    (due.done, due.up_to)
}

/// Case.
pub async fn a_note_waits_for_every_token_of_its_user(s: &Subject) {
    let (a, b, chat) = s.pushed().await;
    s.register(b, s.id(), "second").await;
    let added = Note { kind: PushKind::Added, by: Some(a), due_at: s.now(), ..s.note(b, chat, 9) };
    s.noted([s.note(b, chat, 4), added, s.note(a, chat, 4)]).await;
    let due = s.due_in(Duration::ZERO).await;
    assert_eq!(due.len(), 2, "one for each token");
    assert!(due.iter().all(|due| (due.kind, due.by, range(due), due.attempts, due.noted_at) == (PushKind::Added, Some(a), (8, 9), 0, s.now())));
    assert_ne!(due[0].token.id, due[1].token.id);
    assert_eq!(s.due_in(WINDOW - Duration::from_millis(1)).await.len(), 2);
    let due = s.due_in(WINDOW).await;
    assert_eq!(due.iter().filter(|due| due.kind == PushKind::Messages && range(due) == (3, 4)).count(), 2);
    assert!(due.iter().all(|due| due.token.user_id == b && due.chat_id == chat));
    // A chat that ended in between is told of no more.
    s.noted([s.note(b, s.id(), 1)]).await;
    assert_eq!(s.due_in(WINDOW).await.len(), 4);
}

/// Case.
pub async fn only_users_with_tokens_can_be_reached(s: &Subject) {
    let (a, b, _) = s.pushed().await;
    let many: Vec<UserId> = (0..300).map(|_| s.id()).chain([b, a]).collect();
    assert_eq!(s.push_queue.reachable(&many).await.expect("read"), [b]);
    assert_eq!(s.push_queue.reachable(&[]).await.expect("read"), []);
}

/// Case.
pub async fn noting_again_keeps_the_time_and_the_beginning(s: &Subject) {
    let (_, b, chat) = s.pushed().await;
    s.noted([s.note(b, chat, 4)]).await;
    s.env.advance(Duration::from_secs(2));
    s.noted([Note { first: 5, last: 7, ..s.note(b, chat, 0) }]).await;
    assert_eq!(s.due_in(Duration::from_millis(999)).await, []);
    let due = s.due_in(Duration::from_secs(1)).await;
    assert_eq!(due.iter().map(range).collect::<Vec<_>>(), [(3, 7)]);
    // The same events once more.
    s.noted([s.note(b, chat, 4)]).await;
    assert_eq!(s.due_in(Duration::from_secs(1)).await, due);
}

/// Case.
pub async fn what_was_told_is_not_noted_again(s: &Subject) {
    let (_, b, chat) = s.pushed().await;
    s.noted([s.note(b, chat, 4)]).await;
    let key = s.due_in(WINDOW).await[0].key();
    s.push_queue.told(key, 4, s.now()).await.expect("stored");
    assert_eq!(s.due_in(WINDOW).await, []);
    s.noted([s.note(b, chat, 4)]).await;
    assert_eq!(s.due_in(WINDOW).await, []);
    // What was noted in between without a need does not come back with what follows.
    s.noted([s.note(b, chat, 8)]).await;
    assert_eq!(s.due_in(WINDOW).await.iter().map(range).collect::<Vec<_>>(), [(7, 8)]);
}

/// Case.
pub async fn what_came_meanwhile_is_due_later(s: &Subject) {
    let (_, b, chat) = s.pushed().await;
    s.noted([s.note(b, chat, 4)]).await;
    let key = s.due_in(WINDOW).await[0].key();
    s.noted([s.note(b, chat, 5)]).await;
    let next = s.now().after(WINDOW * 2);
    s.push_queue.told(key, 4, next).await.expect("stored");
    assert_eq!(s.due_in(WINDOW).await, []);
    assert_eq!(s.due_in(WINDOW * 2).await.iter().map(range).collect::<Vec<_>>(), [(4, 5)]);
    // An older word takes nothing back.
    s.push_queue.told(key, 5, next).await.expect("stored");
    s.push_queue.told(key, 3, next).await.expect("stored");
    s.noted([s.note(b, chat, 5)]).await;
    assert_eq!(s.due_in(WINDOW * 2).await.iter().map(range).collect::<Vec<_>>(), [(5, 5)]);
}

/// Case.
pub async fn a_push_that_failed_comes_back_at_its_time(s: &Subject) {
    let (_, b, chat) = s.pushed().await;
    s.noted([s.note(b, chat, 4)]).await;
    let key = s.due_in(WINDOW).await[0].key();
    let later = |seconds| s.now().after(Duration::from_secs(seconds));
    s.push_queue.postpone(key, later(10), true).await.expect("stored");
    s.push_queue.postpone(key, later(20), true).await.expect("stored");
    s.push_queue.postpone(key, later(30), false).await.expect("stored");
    // What comes now waits with it.
    s.noted([s.note(b, chat, 5)]).await;
    assert_eq!(s.due_in(Duration::from_secs(29)).await, []);
    let due = s.due_in(Duration::from_secs(30)).await;
    assert_eq!(due.iter().map(|due| (range(due), due.attempts)).collect::<Vec<_>>(), [((3, 5), 2)]);
    for (failed, found) in [(0, 0), (1, 0), (2, 1)] {
        assert_eq!(s.push_queue.due(Lane::Phones, later(30), failed, 100).await.expect("read").len(), found, "failed {failed} times at the most");
    }
    s.push_queue.told(key, 4, later(40)).await.expect("stored");
    assert_eq!(s.due_in(Duration::from_secs(40)).await[0].attempts, 0);
}

/// Case.
pub async fn due_pushes_come_oldest_first_by_lane_and_bounded(s: &Subject) {
    let a = s.user().await;
    let (mut phones, mut browsers) = (Vec::new(), Vec::new());
    for number in 0..6_u64 {
        let b = s.user().await;
        let chat = s.chat_of(a, b).await.id;
        let platform = if number % 2 == 0 { Platform::Ios } else { Platform::Web };
        let token =
            s.device_tokens.register(NewDeviceToken { platform, ..s.new_token(b, s.id(), &b.to_string()) }).await.expect("answered").expect("registered");
        s.noted([Note { due_at: s.now().after(Duration::from_secs(60 - number)), ..s.note(b, chat, 1) }]).await;
        if platform == Platform::Web { browsers.push(token) } else { phones.push(token) }
    }
    let due = async |lane, limit| -> Vec<_> {
        let due = s.push_queue.due(lane, s.now().after(Duration::from_secs(60)), u32::MAX, limit).await.expect("read");
        due.into_iter().map(|due| due.token).collect()
    };
    phones.reverse();
    browsers.reverse();
    assert_eq!(due(Lane::Phones, 10).await, phones);
    assert_eq!(due(Lane::Browsers, 10).await, browsers);
    assert_eq!(due(Lane::Phones, 2).await, phones[..2]);
}

/// Case.
pub async fn what_an_earlier_process_left_waits_a_little(s: &Subject) {
    let (_, b, chat) = s.pushed().await;
    s.noted([Note { due_at: s.now(), ..s.note(b, chat, 4) }]).await;
    s.push_queue.resume(s.now().after(WINDOW)).await.expect("stored");
    assert_eq!(s.due_in(WINDOW - Duration::from_millis(1)).await, []);
    assert_eq!(s.due_in(WINDOW).await.len(), 1);
    // What is due later stays so, and what is not due is not.
    s.push_queue.resume(s.now()).await.expect("stored");
    assert_eq!(s.due_in(WINDOW - Duration::from_millis(1)).await, []);
    let key = s.due_in(WINDOW).await[0].key();
    s.push_queue.told(key, 4, s.now()).await.expect("stored");
    s.push_queue.resume(s.now().after(WINDOW)).await.expect("stored");
    assert_eq!(s.due_in(WINDOW).await, []);
}

/// Case.
pub async fn only_what_its_reader_may_and_has_not_read_is_told(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let start = Timestamp::from_millis(s.now().as_millis() - 1);
    let waiting = async |viewer: Viewer| s.push_queue.waiting(&viewer, start).await.expect("read");
    let count = async || waiting(s.viewer(chat, b)).await.map_or(0, |waiting| waiting.count);
    assert_eq!(waiting(s.viewer(chat, b)).await, None);
    let first = s.send(chat, a, "first").await;
    let second = s.send(chat, a, "second").await;
    let found = waiting(s.viewer(chat, b)).await.expect("waits");
    assert_eq!((found.count, found.oldest.id, found.newest.id), (2, first.id, second.id));
    // Own ones, those below the place, older ones.
    assert_eq!(waiting(s.viewer(chat, a)).await, None);
    let above = Viewer { above: first.seq, ..s.viewer(chat, b) };
    assert_eq!(waiting(above).await.map(|waiting| (waiting.count, waiting.oldest.id)), Some((1, second.id)));
    assert_eq!(s.push_queue.waiting(&s.viewer(chat, b), s.now()).await.expect("read"), None);
    // System messages, withheld ones, expired ones, deleted ones, read ones.
    let system = Content::System(System { body: "came".to_owned(), action: "came".to_owned() });
    s.append(s.message(chat, a, system).await).await;
    s.append(NewMessage { withheld_from: Some(b), ..s.message(chat, a, text("withheld")).await }).await;
    s.append(NewMessage { expires_at: Some(s.now().after(WINDOW)), ..s.message(chat, a, text("short")).await }).await;
    assert_eq!(count().await, 3);
    s.env.advance(WINDOW);
    assert_eq!(count().await, 2);
    let third = s.send(chat, a, "third").await;
    s.delete(&third).await;
    assert_eq!(count().await, 2);
    s.read(b, &first).await;
    let found = waiting(s.viewer(chat, b)).await.expect("waits");
    assert_eq!((found.count, found.oldest.id, found.newest.id), (1, second.id, second.id));
    s.read(b, &second).await;
    assert_eq!(count().await, 0);
}
