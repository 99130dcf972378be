//! The exactly-once view: whatever order, repetition and loss events and answers come in, each message is told once and, within
//! its chat, in the order of `seq` (contract, section 3.5). Pure: it does no I/O, it says what it wants fetched.

use std::collections::{BTreeMap, BTreeSet};

use wa_core::api::{MessagePage, SyncAnswer, SyncChat, SyncRequest};
use wa_core::chat::ChatView;
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::message::{MessageView, Rev, Seq};
use wa_core::receipt::{MarksView, Status};
use wa_core::star::StarMark;

use super::events::{Deleted, Receipt, ServerEvent, Starred, WireChange, WireDeleted};
use super::track::{Position, State, Track, Walk};

/// Messages that wait for an older one, over all chats; further ones are fetched again when their turn comes.
const MAX_HELD: usize = 1000;

/// Something to tell, and how far that brings its chat. Either may be absent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) event: Option<ServerEvent>,
    /// The chat's new position; `None` if the chat is gone.
    pub(super) position: Option<(ChatId, Option<Position>)>,
}

/// The view of one user on all their chats.
#[derive(Debug)]
pub(super) struct View {
    me: UserId,
    chats: BTreeMap<ChatId, Track>,
    /// The chats with a hole, of which messages must be fetched unless they come by themselves.
    holes: BTreeSet<ChatId>,
    held: usize,
    wants_sync: bool,
    told: Vec<Told>,
}

impl View {
    /// Of this user, from where an earlier view stood.
    pub(super) fn new(me: UserId, state: &State) -> Self {
        let chats: BTreeMap<_, _> = state.chats.iter().map(|(id, position)| (*id, Track::at(*position))).collect();
        let holes = chats.iter().filter(|(_, track)| track.has_hole()).map(|(id, _)| *id).collect();
        Self { me, chats, holes, held: 0, wants_sync: true, told: Vec::new() }
    }

    /// What is to be told since the last call, in order.
    pub(super) fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// A message came. Returns whether it is told already, so that it came in vain.
    pub(super) fn message(&mut self, message: Box<MessageView>) -> bool {
        let chat = message.chat_id;
        let track = self.chats.entry(chat).or_default();
        track.see(message.seq, message.rev);
        let in_vain = !track.undecided && message.seq <= track.seq;
        // Below `rev` and yet not told: it came late and has changed or gone since, so that fetching decides.
        if !in_vain && message.rev > track.rev {
            if track.takes_live() && message.seq == track.seq.next() {
                self.tell(message);
                self.tell_held(chat);
            } else {
                self.hold(message);
            }
        }
        self.settle(chat);
        in_vain
    }

    /// A message exists that could not be taken in.
    pub(super) fn missed(&mut self, chat: ChatId, seq: Seq) {
        self.chats.entry(chat).or_default().see(seq, Rev::ZERO);
        self.settle(chat);
    }

    /// Changes were lost: everything must be asked for.
    pub(super) const fn lost(&mut self) {
        self.wants_sync = true;
    }

    /// A message changed.
    pub(super) fn edited(&mut self, message: Box<MessageView>) {
        let Some(track) = self.chats.get_mut(&message.chat_id) else { return };
        let chat = message.chat_id;
        track.see(message.seq, message.rev);
        if track.was_told(&message) {
            return;
        }
        if message.seq > track.seq {
            // Not told yet: when its turn comes it is told as it is then.
            if let Some(held) = track.held.get_mut(&message.seq).filter(|held| held.rev < message.rev) {
                *held = message;
            }
        } else if message.rev > track.rev.next() || !track.takes_live() {
            self.wants_sync = true;
        } else {
            track.advance(message.seq, message.rev);
            self.emit(chat, ServerEvent::MessageChanged(message));
        }
        self.settle(chat);
    }

    /// A message was deleted for this user.
    pub(super) fn deleted(&mut self, deleted: &WireDeleted) {
        let Some(track) = self.chats.get_mut(&deleted.chat_id) else { return };
        let chat = deleted.chat_id;
        track.see(deleted.seq, deleted.rev);
        if deleted.rev <= track.rev {
            return;
        }
        if deleted.rev > track.rev.next() || !track.takes_live() {
            self.wants_sync = true;
            return;
        }
        track.advance(deleted.seq, deleted.rev);
        if track.held.remove(&deleted.seq).is_some() {
            self.held -= 1;
        }
        if deleted.seq <= track.seq {
            let event = Deleted { chat_id: chat, message_id: deleted.message_id, for_everyone: deleted.deleted_for_everyone };
            self.emit(chat, ServerEvent::MessageDeleted(event));
        }
        self.settle(chat);
    }

    /// Somebody reacted to a message, or this user starred it: a change of the message at this place.
    pub(super) fn annotated(&mut self, chat: ChatId, seq: Seq, rev: Rev, event: ServerEvent) {
        let Some(track) = self.chats.get_mut(&chat) else { return };
        track.see(seq, rev);
        if track.was_told_at(seq, rev) {
            return;
        }
        if seq > track.seq {
            // Not told yet: what is held is no longer as it was, so that it is fetched when its turn comes.
            if track.held.get(&seq).is_some_and(|held| held.rev < rev) {
                track.held.remove(&seq);
                self.held -= 1;
            }
        } else if rev > track.rev.next() || !track.takes_live() {
            self.wants_sync = true;
        } else {
            track.advance(seq, rev);
            self.emit(chat, event);
        }
        self.settle(chat);
    }

    /// Somebody received or read messages.
    pub(super) fn receipt(&mut self, receipt: Receipt) {
        if let (Some(track), Some(up_to)) = (self.chats.get_mut(&receipt.chat_id), receipt.up_to_seq)
            && receipt.user_id != self.me
        {
            let marks = track.marks.entry(receipt.user_id).or_default();
            if receipt.status == Status::Read {
                marks.1 = marks.1.max(up_to);
            }
        }
        self.told.push(Told { event: Some(ServerEvent::Receipt(receipt)), position: None });
    }

    /// A chat was made.
    pub(super) fn created(&mut self, chat: Box<ChatView>) {
        let id = chat.chat_id;
        if let Some(track) = self.chats.get_mut(&id) {
            // The first message of a group comes before it.
            if track.takes_live() && chat.rev == track.rev.next() {
                track.see(chat.last_seq, chat.rev);
                track.advance(chat.last_seq, chat.rev);
                self.emit(id, ServerEvent::Chat(chat));
                self.settle(id);
            }
            return;
        }
        // Where there are messages already, they are fetched, and the revision follows from them.
        let rev = if chat.last_seq == Seq::ZERO { chat.rev } else { Rev::ZERO };
        let mut track = Track { rev, ..Track::default() };
        track.see(chat.last_seq, chat.rev);
        self.chats.insert(id, track);
        self.emit(id, ServerEvent::Chat(chat));
        self.settle(id);
    }

    /// A chat changed, or who is in it: asking tells how it is now.
    pub(super) fn changed(&mut self, change: &WireChange) {
        if self.chats.get(&change.chat_id).is_none_or(|track| change.rev > track.rev) {
            self.wants_sync = true;
        }
    }

    /// Whether a sync is wanted.
    pub(super) const fn wants_sync(&self) -> bool {
        self.wants_sync
    }

    /// What to ask; the answer goes to [`Self::synced`], a failure to [`Self::lost`].
    pub(super) fn start_sync(&mut self, limit: i64) -> SyncRequest {
        self.wants_sync = false;
        let ask = |track: &Track| {
            // Receipts take no revision: a chat is listed with its marks only if it is asked from below its last change.
            let below = track.undecided || track.awaits_receipts();
            Rev::new(if below { (track.rev.get() - 1).max(0) } else { track.rev.get() })
        };
        SyncRequest { chats: self.chats.iter().map(|(id, track)| (*id, ask(track))).collect(), limit: Some(limit) }
    }

    /// A sync was answered.
    pub(super) fn synced(&mut self, answer: SyncAnswer) {
        for item in answer.chats {
            let chat = item.chat.chat_id;
            self.synced_chat(item);
            self.settle(chat);
        }
        for chat in answer.removed_chat_ids {
            if let Some(track) = self.chats.remove(&chat) {
                self.held -= track.held.len();
                self.holes.remove(&chat);
                self.told.push(Told { event: Some(ServerEvent::ChatRemoved { chat_id: chat }), position: Some((chat, None)) });
            }
        }
        self.wants_sync |= !answer.complete;
    }

    fn synced_chat(&mut self, item: SyncChat) {
        let SyncChat { chat, rev, history_from_seq, mut messages, hidden_message_ids, stars, receipts, limited } = item;
        let (id, last_seq, chat_rev) = (chat.chat_id, chat.last_seq, chat.rev);
        let is_new = !self.chats.contains_key(&id);
        let track = self.chats.entry(id).or_default();
        track.see(last_seq, chat_rev);
        if track.undecided {
            // Everything the user's devices have not received is news; of everything older nothing is.
            let delivered = receipts.iter().find(|marks| marks.user_id == self.me).map_or(Seq::ZERO, |marks| marks.delivered_up_to_seq);
            track.seq = if chat.unread_count == 0 { last_seq } else { delivered.min(last_seq) };
            track.rev = track.rev.max(chat_rev);
            track.undecided = false;
            track.behind = track.seq < last_seq;
            let stale = track.held.len();
            track.held.clear();
            self.held -= stale;
            self.emit(id, ServerEvent::Chat(Box::new(chat)));
            self.marks(id, &receipts);
            return;
        }
        if track.seq > Seq::ZERO && track.seq.next() < history_from_seq {
            self.emit(id, ServerEvent::HistoryFrom { chat_id: id, seq: history_from_seq });
        }
        let track = self.track(id);
        let before = track.rev;
        if is_new || chat_rev > before {
            self.emit(id, ServerEvent::Chat(Box::new(chat)));
        }
        if rev > before {
            self.wants_sync |= limited;
            self.changes(id, &messages, hidden_message_ids, &stars);
            messages.sort_by_key(|message| message.seq);
            // Complete and with nothing left behind: what is not in the answer cannot be seen by this user.
            let gapless = !limited && !self.track(id).behind;
            for message in messages {
                let track = self.track(id);
                if message.seq <= track.seq {
                    continue;
                }
                if !gapless && (track.behind || message.seq != track.seq.next()) {
                    track.behind = true;
                    break;
                }
                self.release(id, message.seq);
                self.tell_as_of(Box::new(message), rev);
            }
            let track = self.track(id);
            track.rev = track.rev.max(rev);
            track.forget_below_rev();
            if gapless && rev >= chat_rev {
                self.release(id, last_seq);
                let track = self.track(id);
                track.seq = track.seq.max(last_seq);
            }
            self.tell_held(id);
            self.tell_position(id);
        }
        self.marks(id, &receipts);
    }

    /// Tells the changes of messages told before.
    fn changes(&mut self, id: ChatId, messages: &[MessageView], hidden: Vec<MessageId>, stars: &[StarMark]) {
        for message in messages {
            let track = self.track(id);
            if message.seq <= track.seq && !track.was_told(message) {
                self.told.push(Told { event: Some(ServerEvent::MessageChanged(Box::new(message.clone()))), position: None });
            }
        }
        let any_told = self.track(id).seq > Seq::ZERO;
        for StarMark { message_id, is_starred } in stars.iter().copied().filter(|_| any_told) {
            let event = ServerEvent::Starred(Starred { chat_id: id, message_id, is_starred });
            self.told.push(Told { event: Some(event), position: None });
        }
        for message_id in hidden {
            let track = self.track(id);
            let before = track.held.len();
            track.held.retain(|_, message| message.message_id != message_id);
            let gone = before - track.held.len();
            self.held -= gone;
            if any_told {
                let event = ServerEvent::MessageDeleted(Deleted { chat_id: id, message_id, for_everyone: false });
                self.told.push(Told { event: Some(event), position: None });
            }
        }
    }

    /// Tells how far others have received and read, where that is news.
    fn marks(&mut self, chat_id: ChatId, receipts: &[MarksView]) {
        let me = self.me;
        for &MarksView { user_id, delivered_up_to_seq, read_up_to_seq, .. } in receipts.iter().filter(|marks| marks.user_id != me) {
            let marks = self.track(chat_id).marks.entry(user_id).or_default();
            let before = *marks;
            *marks = (before.0.max(delivered_up_to_seq), before.1.max(read_up_to_seq));
            for (old, new, status) in [(before.0, marks.0, Status::Delivered), (before.1, marks.1, Status::Read)] {
                if new > old {
                    let receipt = Receipt { chat_id, message_id: None, up_to_seq: Some(new), user_id, status };
                    self.told.push(Told { event: Some(ServerEvent::Receipt(receipt)), position: None });
                }
            }
        }
    }

    /// Whether messages are missing that might still come by themselves.
    pub(super) fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Whether something is missing that will not come by itself.
    pub(super) fn must_walk(&self) -> bool {
        self.holes.iter().any(|chat| self.chats[chat].behind || self.chats[chat].walk.is_some())
    }

    /// Starts to fetch, or goes on fetching, what is missing of some chat: its messages after this place, oldest first. The
    /// page goes to [`Self::walked`], a failure to [`Self::walk_failed`].
    pub(super) fn walk(&mut self) -> Option<(ChatId, Seq)> {
        let find = |which: fn(&Track) -> bool| self.holes.iter().copied().find(|chat| which(&self.chats[chat]));
        let chat = find(|track| track.walk.is_some()).or_else(|| find(|track| track.behind)).or_else(|| find(|_| true))?;
        let track = self.track(chat);
        if track.walk.is_none() {
            track.walk = Some(Walk { from: track.seq, target: track.seen });
        }
        Some((chat, track.seq))
    }

    /// A page of what is missing came.
    pub(super) fn walked(&mut self, chat: ChatId, page: MessagePage) {
        let Some(Walk { from, target }) = self.chats.get(&chat).and_then(|track| track.walk) else { return };
        for message in page.messages {
            let track = self.track(chat);
            track.see(message.seq, message.rev);
            if message.seq > track.seq {
                self.release(chat, message.seq);
                self.tell_as_of(Box::new(message), target.1);
            }
        }
        if page.has_more {
            return;
        }
        // All that was known to exist at the start has been told, or cannot be seen by this user.
        self.release(chat, target.0);
        let track = self.track(chat);
        let before = track.held.len();
        track.held.retain(|_, message| message.rev > target.1);
        let gone = before - track.held.len();
        track.walk = None;
        track.behind = false;
        track.seq = track.seq.max(target.0);
        if from == Seq::ZERO {
            track.rev = track.rev.max(target.1);
        } else {
            let older = track.walked.unwrap_or_default();
            track.walked = Some((from.max(older.0), target.1.max(older.1)));
        }
        track.forget_below_rev();
        self.wants_sync |= track.rev < target.1;
        self.held -= gone;
        self.tell_held(chat);
        self.tell_position(chat);
        self.settle(chat);
    }

    /// What is missing could not be fetched. It is asked for again, unless it is `gone` for this user.
    pub(super) fn walk_failed(&mut self, chat: ChatId, gone: bool) {
        if let Some(track) = self.chats.get_mut(&chat) {
            track.walk = None;
            if gone {
                track.behind = false;
                track.seen.0 = track.seq;
                self.wants_sync = true;
            }
            self.settle(chat);
        }
    }

    fn track(&mut self, chat: ChatId) -> &mut Track {
        self.chats.entry(chat).or_default()
    }

    fn hold(&mut self, message: Box<MessageView>) {
        if self.held < MAX_HELD && self.track(message.chat_id).held.insert(message.seq, message).is_none() {
            self.held += 1;
        }
    }

    /// Drops what is held up to this place: it is told from elsewhere, or is gone.
    fn release(&mut self, chat: ChatId, up_to: Seq) {
        let track = self.track(chat);
        let later = track.held.split_off(&up_to.next());
        let gone = std::mem::replace(&mut track.held, later).len();
        self.held -= gone;
    }

    /// Tells what is held and follows on what was told.
    fn tell_held(&mut self, chat: ChatId) {
        loop {
            let track = self.track(chat);
            let (seq, next) = (track.seq, track.seq.next());
            if !track.takes_live() {
                return;
            }
            let Some(message) = track.held.remove(&next) else {
                self.release(chat, seq);
                return;
            };
            let is_late = message.rev <= track.rev;
            self.held -= 1;
            // As when it comes late by itself: fetching decides.
            if is_late {
                return;
            }
            self.tell(message);
        }
    }

    fn tell(&mut self, message: Box<MessageView>) {
        self.tell_as_of(message, Rev::ZERO);
    }

    /// Tells a message that was fetched when this revision existed.
    fn tell_as_of(&mut self, message: Box<MessageView>, as_of: Rev) {
        let (chat, me) = (message.chat_id, self.me);
        let track = self.track(chat);
        track.seq = message.seq;
        if message.sender_id == me {
            track.own = message.seq;
        }
        if message.rev == track.rev.next() || message.rev > as_of {
            let incomplete = track.advance(message.seq, message.rev);
            self.wants_sync |= incomplete;
        }
        self.emit(chat, ServerEvent::Message(message));
    }

    fn emit(&mut self, chat: ChatId, event: ServerEvent) {
        let position = self.track(chat).position();
        self.told.push(Told { event: Some(event), position: Some((chat, Some(position))) });
    }

    fn tell_position(&mut self, chat: ChatId) {
        let position = self.track(chat).position();
        self.told.push(Told { event: None, position: Some((chat, Some(position))) });
    }

    fn settle(&mut self, chat: ChatId) {
        if self.chats.get(&chat).is_some_and(Track::has_hole) {
            self.holes.insert(chat);
        } else {
            self.holes.remove(&chat);
        }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
