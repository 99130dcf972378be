//! Pushes to those who are away (contract, section 7). What is to be told is noted in the queue as soon as its event comes,
//! and decided when the push leaves: who is online then, has muted, read, left or blocked is not bothered.

mod compose;
mod devices;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::names::Names;
use super::people::People;
use crate::batch::{self, Recipient, Told, Windows};
use crate::chat::{ChatKind, Membership};
use crate::error::{Result, StoreErrorKind};
use crate::event::{Event, Fact, MemberChanged, MessageNew};
use crate::id::UserId;
use crate::limits::Limits;
use crate::link::Links;
use crate::message::{Message, MessageKind};
use crate::ports::{
    ChatStore, ContactStore, DeviceTokenStore, Due, Env, EnvExt as _, ListedChat, Note, PresenceStore, PushOutcome, PushQueue, PushSender, Turn, UserStore,
    Viewer, Waiting,
};
use crate::push::{Lane, Notice, PushKind, TTL};
use crate::time::Timestamp;

/// Messages of one direct chat that are pushed one after the other before others have their turn.
const IN_A_ROW: usize = 32;

/// What the notification service stands on.
#[derive(Clone)]
pub struct NotificationDeps {
    /// Pushes that wait.
    pub queue: Arc<dyn PushQueue>,
    /// Where pushes go.
    pub tokens: Arc<dyn DeviceTokenStore>,
    /// Who carries them.
    pub sender: Arc<dyn PushSender>,
    /// Who is connected.
    pub presence: Arc<dyn PresenceStore>,
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Where people reach the server, for pictures.
    pub links: Arc<Links>,
    /// Names kept at hand.
    pub names: Arc<Names>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
    /// How long messages of a group are gathered from the first on.
    pub group_window: Duration,
    /// The key that browsers name when they subscribe, base64url.
    pub web_push_key: Option<String>,
}

impl fmt::Debug for NotificationDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotificationDeps")
    }
}

/// What came of one push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// What the provider said.
    pub outcome: PushOutcome,
    /// Of how many messages it told.
    pub messages: u64,
}

/// What came of a push that was due.
#[derive(Debug)]
pub struct Handed<'a> {
    /// What was handed over.
    pub delivered: Vec<Delivered>,
    /// What became of the last of it, if that could not be stored.
    pub unsettled: Option<Unsettled<'a>>,
}

/// What became of a push and is not stored yet. Until it is, the push is still due: whoever delivered it again would send it
/// again.
#[derive(Debug)]
pub struct Unsettled<'a> {
    taken: Taken<'a>,
    due: Due,
    mark: Mark,
}

impl Unsettled<'_> {
    /// Stores it.
    ///
    /// # Errors
    /// UNAVAILABLE if it still cannot be stored.
    pub async fn settle(&self) -> Result<()> {
        self.taken.service.store(&self.due, self.mark).await
    }
}

/// What an answer of a provider means for the push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Everything up to this number was told.
    Told(i64),
    /// The device is known no more.
    Gone,
    /// It comes back then.
    Later { at: Timestamp, failed: bool },
}

/// Pushes. Somebody hands it the events, in order, and delivers what is due.
#[derive(Debug)]
pub struct NotificationService {
    deps: NotificationDeps,
    people: People,
    windows: Mutex<Windows>,
}

/// A recipient whose push is under way, until what became of it is stored.
#[derive(Debug)]
struct Taken<'a> {
    service: &'a NotificationService,
    recipient: Recipient,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.service.windows().release(&self.recipient);
    }
}

/// A chat as the recipient of a push has it.
struct Reached {
    listed: ListedChat,
    viewer: Viewer,
}

impl NotificationService {
    /// Notifications over these ports.
    #[must_use]
    pub fn new(deps: NotificationDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts)).linked(Arc::clone(&deps.links));
        let windows = Mutex::new(Windows::new(deps.limits.push_windows));
        Self { deps, people, windows }
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        // Every change of it is whole, whatever a panicking thread was doing.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn to deliver, or keeps it, for a second from this call on. Who gains it calls [`Self::resume`] first.
    ///
    /// # Errors
    /// UNAVAILABLE if that cannot be told.
    pub async fn take_turn(&self) -> Result<Turn> {
        Ok(self.deps.queue.take_turn().await?)
    }

    /// When the turn came: what an earlier process left goes out a window later, when those have come back who were
    /// connected to it.
    ///
    /// # Errors
    /// UNAVAILABLE if it cannot be stored.
    pub async fn resume(&self) -> Result<()> {
        Ok(self.deps.queue.resume(self.deps.env.now().after(self.deps.group_window)).await?)
    }

    /// Notes what these events are to be pushed for, durably. The same events may come again. Returns whether anything is
    /// due now. Calls must follow each other.
    ///
    /// # Errors
    /// UNAVAILABLE if it cannot be looked up or stored; the same events are then to be handed in again.
    pub async fn note(&self, events: &[Arc<Event>]) -> Result<bool> {
        let now = self.deps.env.now();
        let mut notes: BTreeMap<(Recipient, PushKind), Note> = BTreeMap::new();
        for event in events {
            match &event.fact {
                Fact::MessageNew(new) if new.message.kind != MessageKind::System => {
                    for note in self.of_message(new, now).await? {
                        gather(&mut notes, note);
                    }
                }
                Fact::MemberAdded(added) if added.user_id != added.by => gather(&mut notes, of_joining(added, now)),
                _ => {}
            }
        }
        self.leave_out(&mut notes, now).await?;
        if notes.is_empty() {
            return Ok(false);
        }
        let is_due = notes.values().any(|note| note.due_at <= now);
        let opening: Vec<(Recipient, Timestamp)> =
            notes.values().filter(|note| note.due_at > now).map(|note| ((note.user_id, note.chat_id), note.due_at)).collect();
        {
            let mut windows = self.windows();
            opening.iter().for_each(|(recipient, _)| windows.opening(*recipient, now));
        }
        let noted = self.deps.queue.note(notes.into_values().collect()).await;
        let mut windows = self.windows();
        for (recipient, due) in opening {
            match noted {
                Ok(()) => windows.opened(&recipient, due),
                Err(_) => windows.failed(&recipient),
            }
        }
        drop(windows);
        noted?;
        Ok(is_due)
    }

    /// Everybody but the sender who may see it, unless a push that is stored already will tell of it.
    async fn of_message(&self, new: &MessageNew, now: Timestamp) -> Result<Vec<Note>> {
        let message = &new.message;
        let Some(membership) = self.deps.chats.membership(message.chat_id).await? else {
            return Ok(Vec::new());
        };
        let window = if new.chat_kind == ChatKind::Group { self.deps.group_window } else { Duration::ZERO };
        let windows = self.windows();
        let recipients = membership.everyone().filter(|member| {
            let is_told = member.user_id != message.sender_id && new.withheld_from != Some(member.user_id) && member.joined_seq < message.seq;
            is_told && !windows.has_open(&(member.user_id, message.chat_id), now)
        });
        let note = |user_id| Note {
            user_id,
            chat_id: message.chat_id,
            kind: PushKind::Messages,
            first: message.seq.get(),
            last: message.seq.get(),
            by: None,
            due_at: now.after(window),
            at: now,
        };
        Ok(recipients.map(|member| note(member.user_id)).collect())
    }

    /// Those of these users who are known to be here: a push too many is better than one too few.
    async fn online(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        match self.deps.presence.online(users).await {
            Err(error) if error.kind == StoreErrorKind::Unavailable => {
                tracing::debug!(%error, "who is here is not known: they are pushed to");
                Ok(Vec::new())
            }
            answer => Ok(answer?),
        }
    }

    /// Those without a device to tell, and of what goes out at once, those who are here.
    async fn leave_out(&self, notes: &mut BTreeMap<(Recipient, PushKind), Note>, now: Timestamp) -> Result<()> {
        let users = |notes: &BTreeMap<_, Note>, of: &dyn Fn(&Note) -> bool| -> Vec<UserId> {
            notes.values().filter(|note| of(note)).map(|note| note.user_id).collect::<HashSet<_>>().into_iter().collect()
        };
        let at_once = users(notes, &|note| note.due_at <= now);
        if !at_once.is_empty() {
            let online: HashSet<UserId> = self.online(&at_once).await?.into_iter().collect();
            notes.retain(|_, note| note.due_at > now || !online.contains(&note.user_id));
        }
        if !notes.is_empty() {
            let reachable: HashSet<UserId> = self.deps.queue.reachable(&users(notes, &|_| true)).await?.into_iter().collect();
            notes.retain(|_, note| reachable.contains(&note.user_id));
        }
        Ok(())
    }

    /// Pushes of a lane that are due now, the longest due first, at most `limit`.
    ///
    /// # Errors
    /// UNAVAILABLE if they cannot be read.
    pub async fn due(&self, lane: Lane, limit: usize) -> Result<Vec<Due>> {
        Ok(self.deps.queue.due(lane, self.deps.env.now(), u32::MAX, limit).await?)
    }

    /// When the windows have ended that are open now.
    #[must_use]
    pub fn windows_end(&self) -> Timestamp {
        self.deps.env.now().after(self.deps.group_window)
    }

    /// Pushes that wait for the end of their window, which comes by then, for the end of the process: they go out now. Those
    /// that failed wait for their provider, not for a window.
    ///
    /// # Errors
    /// UNAVAILABLE if they cannot be read.
    pub async fn buffered(&self, lane: Lane, by: Timestamp, limit: usize) -> Result<Vec<Due>> {
        Ok(self.deps.queue.due(lane, by, 0, limit).await?)
    }

    /// Pushes what is due, which was read while this process had the turn: tells of what its user has to be told of now, or of nothing. No other push of the same key may
    /// be under way. Returns what the provider said.
    ///
    /// # Errors
    /// UNAVAILABLE if it cannot be looked up; it is then still due.
    pub async fn deliver(&self, due: &Due) -> Result<Handed<'_>> {
        let recipient = (due.token.user_id, due.chat_id);
        self.windows().take(recipient);
        let taken = Taken { service: self, recipient };
        let mut delivered = Vec::new();
        let unsettled = match due.kind {
            PushKind::Messages => self.tell_messages(due, &mut delivered).await?,
            PushKind::Added => self.tell_joining(due, &mut delivered).await?,
        };
        Ok(Handed { delivered, unsettled: unsettled.map(|mark| Unsettled { taken, due: due.clone(), mark }) })
    }

    /// Returns what could not be stored.
    async fn tell_messages(&self, due: &Due, delivered: &mut Vec<Delivered>) -> Result<Option<Mark>> {
        let mut done = due.done;
        for _ in 0..IN_A_ROW {
            let Some((reached, waiting)) = self.to_tell(due, done).await? else {
                self.told(due, due.up_to.max(done)).await?;
                break;
            };
            let kind = reached.listed.chat.kind;
            let all = batch::told(kind, waiting.count, waiting.oldest.created_at, reached.viewer.now) == Told::All;
            let notice = self.message_notice(&reached, &waiting, all, due).await?;
            let is_last = all || waiting.count == 1;
            let up_to = if is_last { waiting.newest.seq.get().max(due.up_to) } else { waiting.oldest.seq.get() };
            let (mark, is_stored) = self.hand_over(due, &notice, up_to, if all { waiting.count } else { 1 }, delivered).await;
            if !is_stored {
                return Ok(Some(mark));
            }
            if is_last || !matches!(mark, Mark::Told(_)) {
                break;
            }
            done = up_to;
        }
        Ok(None)
    }

    /// Returns what could not be stored.
    async fn tell_joining(&self, due: &Due, delivered: &mut Vec<Delivered>) -> Result<Option<Mark>> {
        let now = self.deps.env.now();
        let notice = match self.reach(due).await? {
            Some(reached) if now.since(due.noted_at) <= TTL => self.joining_notice(&reached, due).await?,
            _ => None,
        };
        let Some(notice) = notice else {
            self.told(due, due.up_to).await?;
            return Ok(None);
        };
        let (mark, is_stored) = self.hand_over(due, &notice, due.up_to, 1, delivered).await;
        Ok((!is_stored).then_some(mark))
    }

    /// Hands a notice of so many messages, up to this number, to the provider. Returns what that means, and whether it is
    /// stored.
    async fn hand_over(&self, due: &Due, notice: &Notice, up_to: i64, messages: u64, delivered: &mut Vec<Delivered>) -> (Mark, bool) {
        let outcome = self.deps.sender.send(&due.token, notice).await;
        let mark = self.mark(due, &outcome, up_to);
        delivered.push(Delivered { outcome, messages });
        let stored = self.store(due, mark).await;
        if let Err(error) = &stored {
            tracing::warn!(%error, "what became of a push cannot be stored now");
        }
        (mark, stored.is_ok())
    }

    /// The chat, if its user is to be bothered with it now: they are in it, away, and have neither muted it nor blocked the
    /// other side.
    async fn reach(&self, due: &Due) -> Result<Option<Reached>> {
        let (user, now) = (due.token.user_id, self.deps.env.now());
        let Some(listed) = self.deps.chats.get(user, &[due.chat_id]).await?.into_iter().next() else { return Ok(None) };
        let Some(membership) = self.deps.chats.membership(due.chat_id).await? else { return Ok(None) };
        let Some(joined_seq) = welcome(&membership, user) else { return Ok(None) };
        if listed.personal.muted_at(now) || !self.online(&[user]).await?.is_empty() {
            return Ok(None);
        }
        Ok(Some(Reached { listed, viewer: Viewer { chat_id: due.chat_id, user_id: user, above: joined_seq, now } }))
    }

    /// What the user has to be told of now, above what was done.
    async fn to_tell(&self, due: &Due, done: i64) -> Result<Option<(Reached, Waiting)>> {
        let Some(reached) = self.reach(due).await? else { return Ok(None) };
        let viewer = Viewer { above: reached.viewer.above.max(crate::message::Seq::new(done)), ..reached.viewer };
        let expired = Timestamp::from_millis(viewer.now.as_millis() - i64::try_from(TTL.as_millis()).unwrap_or(i64::MAX));
        Ok(self.deps.queue.waiting(&viewer, expired).await?.map(|waiting| (reached, waiting)))
    }

    /// What a provider's answer means for a push that told of everything up to this number.
    fn mark(&self, due: &Due, outcome: &PushOutcome, up_to: i64) -> Mark {
        let now = self.deps.env.now();
        let mut share = [0];
        match outcome {
            PushOutcome::Sent | PushOutcome::Logged | PushOutcome::Refused => Mark::Told(up_to),
            PushOutcome::Gone => Mark::Gone,
            PushOutcome::Failed { retry_after } => {
                self.deps.env.fill(&mut share);
                let pause = batch::pause(due.attempts.saturating_add(1), *retry_after, share[0]);
                Mark::Later { at: now.after(pause), failed: true }
            }
            // Those that wait for the same provider do not all come back at once.
            PushOutcome::Resting { wait } => {
                let spread = Duration::from_millis(u64::from(self.deps.env.below(2_000)));
                Mark::Later { at: now.after(*wait + spread), failed: false }
            }
        }
    }

    async fn store(&self, due: &Due, mark: Mark) -> Result<()> {
        match mark {
            Mark::Told(up_to) => self.told(due, up_to).await?,
            Mark::Gone => {
                self.deps.tokens.drop_stale(&due.token).await?;
                tracing::info!(user_id = %due.token.user_id, platform = due.token.platform.as_str(), "a push token is known no more and was removed");
            }
            Mark::Later { at, failed } => self.deps.queue.postpone(due.key(), at, failed).await?,
        }
        Ok(())
    }

    async fn told(&self, due: &Due, up_to: i64) -> Result<()> {
        let now = self.deps.env.now();
        // Who came to it while the push was on its way waits for a window of its own; direct messages do not wait.
        let is_group = self.deps.chats.membership(due.chat_id).await?.is_some_and(|membership| membership.kind == ChatKind::Group);
        let next = if is_group && due.kind == PushKind::Messages { now.after(self.deps.group_window) } else { now };
        Ok(self.deps.queue.told(due.key(), up_to, next).await?)
    }
}

/// From where on the user sees the chat, unless they left it or blocked the other side.
fn welcome(membership: &Membership, user: UserId) -> Option<crate::message::Seq> {
    membership.present(user).filter(|member| membership.kind == ChatKind::Group || !member.has_blocked).map(|member| member.joined_seq)
}

fn of_joining(added: &MemberChanged, now: Timestamp) -> Note {
    let rev = added.rev.get();
    Note { user_id: added.user_id, chat_id: added.chat_id, kind: PushKind::Added, first: rev, last: rev, by: Some(added.by), due_at: now, at: now }
}

/// Puts notes of one recipient and kind together.
fn gather(notes: &mut BTreeMap<(Recipient, PushKind), Note>, note: Note) {
    notes
        .entry(((note.user_id, note.chat_id), note.kind))
        .and_modify(|known| *known = Note { first: known.first.min(note.first), last: known.last.max(note.last), ..note })
        .or_insert(note);
}
