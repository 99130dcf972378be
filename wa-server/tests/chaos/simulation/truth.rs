//! What must be true, told by the operations alone: a second, naive account of who is where, who may do and see what, and
//! what counts as unread. It knows nothing of the server but the ids and places it gave, and judges every answer and every frame.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wa_core::time::Timestamp;

use super::client::{integer, reactions, text};

/// What a value was from when on: frames are judged by the moment at which they were handed out.
#[derive(Debug, Clone)]
pub(super) struct Timeline<T>(Vec<(i64, T)>);

impl<T: Copy + Default> Timeline<T> {
    fn new(value: T) -> Self {
        Self(vec![(0, value)])
    }

    fn set(&mut self, at: i64, value: T) {
        self.0.push((at, value));
    }

    fn at(&self, moment: i64) -> T {
        self.0.iter().rev().find(|(at, _)| *at <= moment).map(|(_, value)| *value).unwrap_or_default()
    }

    fn now(&self) -> T {
        self.0.last().map(|(_, value)| *value).unwrap_or_default()
    }
}

impl<T: Copy + Default> Default for Timeline<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A message, whatever anybody may see of it.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) sender: usize,
    pub(super) body: String,
    pub(super) withheld_from: Option<usize>,
    pub(super) hidden_by: BTreeSet<usize>,
    pub(super) delivered_to: BTreeSet<usize>,
    pub(super) is_deleted: bool,
    pub(super) is_edited: bool,
    pub(super) is_system: bool,
    /// By who gave it: the reaction, and who never sees it.
    pub(super) reactions: BTreeMap<usize, (String, Option<usize>)>,
    /// Who goes on seeing what it said before an edit, and whether that was edited.
    pub(super) before_edit: BTreeMap<usize, (String, bool)>,
    pub(super) stars: BTreeSet<usize>,
    pub(super) sent_at: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) is_forwarded: bool,
}

impl Message {
    /// What it says to somebody, and whether that is an edit.
    pub(super) fn says_to(&self, user: usize) -> (&str, bool) {
        self.before_edit.get(&user).map_or((&self.body, self.is_edited), |(body, is_edited)| (body, *is_edited))
    }

    /// A message of the server, told in somebody's name.
    pub(super) const fn system(id: String, sender: usize, withheld_from: Option<usize>, sent_at: i64) -> Self {
        let mut message = Self::text(id, sender, String::new(), withheld_from, sent_at);
        message.is_system = true;
        message
    }

    pub(super) const fn text(id: String, sender: usize, body: String, withheld_from: Option<usize>, sent_at: i64) -> Self {
        Self {
            id,
            sender,
            body,
            withheld_from,
            hidden_by: BTreeSet::new(),
            delivered_to: BTreeSet::new(),
            is_deleted: false,
            is_edited: false,
            is_system: false,
            reactions: BTreeMap::new(),
            before_edit: BTreeMap::new(),
            stars: BTreeSet::new(),
            sent_at,
            expires_at: None,
            is_forwarded: false,
        }
    }
}

/// Somebody who is or was in a chat.
#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    /// While they are in it, the place after which they see it.
    inside: Timeline<Option<i64>>,
    pub(super) is_admin: bool,
    pub(super) read_up_to: i64,
    /// When they came the last time.
    pub(super) joined_at: i64,
}

/// A chat.
#[derive(Debug, Clone, Default)]
pub(super) struct Chat {
    pub(super) id: String,
    pub(super) is_group: bool,
    pub(super) is_admin_only: bool,
    pub(super) lifetime: Option<i64>,
    pub(super) rev: i64,
    pub(super) log: Vec<Message>,
    pub(super) members: BTreeMap<usize, Member>,
    pub(super) is_ended: bool,
}

/// A send that was tried, to be tried again.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) user: usize,
    pub(super) chat: usize,
    pub(super) body: Value,
    /// The message's id and place, if it was accepted.
    pub(super) accepted: Option<(String, i64)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) users: Vec<String>,
    pub(super) chats: Vec<Chat>,
    pub(super) sends: Vec<Attempt>,
    /// Who has blocked whom.
    blocks: BTreeMap<(usize, usize), Timeline<bool>>,
    /// Who gives no read receipts and so takes none.
    pub(super) silent: BTreeSet<usize>,
}

/// What an operation must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Refused(u16, &'static str),
}

pub(super) const NO_CHAT: Verdict = Verdict::Refused(404, "CHAT_NOT_FOUND");
pub(super) const NO_MESSAGE: Verdict = Verdict::Refused(404, "MESSAGE_NOT_FOUND");
pub(super) const NO_USER: Verdict = Verdict::Refused(404, "USER_NOT_FOUND");
pub(super) const NOT_ADMIN: Verdict = Verdict::Refused(403, "NOT_ADMIN");
pub(super) const FORBIDDEN: Verdict = Verdict::Refused(403, "FORBIDDEN");
pub(super) const INVALID: Verdict = Verdict::Refused(422, "VALIDATION_ERROR");
pub(super) const CONFLICT: Verdict = Verdict::Refused(409, "CONFLICT");
pub(super) const GONE: Verdict = Verdict::Refused(403, "NOT_CHAT_MEMBER");

impl Member {
    pub(super) fn new(at: i64, joined_seq: i64, is_admin: bool) -> Self {
        let mut inside = Timeline::default();
        inside.set(at, Some(joined_seq));
        Self { inside, is_admin, read_up_to: 0, joined_at: at }
    }

    pub(super) fn join(&mut self, at: i64, joined_seq: i64) {
        self.inside.set(at, Some(joined_seq));
        self.is_admin = false;
        self.joined_at = at;
    }

    pub(super) fn leave(&mut self, at: i64) {
        self.inside.set(at, None);
    }

    pub(super) fn joined_seq(&self) -> Option<i64> {
        self.inside.now()
    }
}

impl Chat {
    pub(super) fn present(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.members.iter().filter(|(_, member)| member.joined_seq().is_some()).map(|(user, member)| (*user, member))
    }

    /// What somebody is told who wants to change the group.
    pub(super) fn as_admin(&self, user: usize) -> Verdict {
        match self.entry(user) {
            Verdict::Allowed if !self.is_group => INVALID,
            Verdict::Allowed if !self.is_admin(user) => NOT_ADMIN,
            entry => entry,
        }
    }

    /// Lets somebody in, or in again.
    pub(super) fn let_in(&mut self, user: usize, at: i64) {
        let after = self.last_seq();
        self.members.entry(user).and_modify(|member| member.join(at, after)).or_insert_with(|| Member::new(at, after, false));
    }

    /// Lets somebody go. The last admin hands over to whoever has been in for longest; with the last member the group ends.
    pub(super) fn let_go(&mut self, user: usize, at: i64) {
        if let Some(member) = self.members.get_mut(&user) {
            member.leave(at);
        }
        let heir = self.present().min_by_key(|(user, member)| (member.joined_seq(), member.joined_at, *user)).map(|(user, _)| user);
        let has_admin = self.present().any(|(_, member)| member.is_admin);
        match heir.and_then(|heir| self.members.get_mut(&heir)) {
            None => self.is_ended = true,
            Some(heir) => heir.is_admin |= !has_admin,
        }
    }

    pub(super) fn is_in(&self, user: usize) -> bool {
        self.present().any(|(member, _)| member == user)
    }

    pub(super) fn is_admin(&self, user: usize) -> bool {
        self.present().any(|(member, of)| member == user && of.is_admin)
    }

    /// What anybody who names the chat is told, unless they are in it.
    pub(super) fn entry(&self, user: usize) -> Verdict {
        match self.members.get(&user) {
            _ if self.is_ended => NO_CHAT,
            None => NO_CHAT,
            Some(member) if member.joined_seq().is_none() => GONE,
            Some(_) => Verdict::Allowed,
        }
    }

    /// The places a user may see at this moment.
    pub(super) fn visible(&self, user: usize, now: i64) -> Vec<i64> {
        let Some(after) = self.members.get(&user).and_then(Member::joined_seq) else { return Vec::new() };
        let may_see = |seq: i64, message: &Message| {
            seq > after && message.withheld_from != Some(user) && !message.hidden_by.contains(&user) && message.expires_at.is_none_or(|at| at > now)
        };
        (1..).zip(&self.log).filter(|(seq, message)| may_see(*seq, message)).map(|(seq, _)| seq).collect()
    }

    pub(super) fn at(&self, seq: i64) -> &Message {
        &self.log[usize::try_from(seq - 1).unwrap()]
    }

    pub(super) fn at_mut(&mut self, seq: i64) -> &mut Message {
        &mut self.log[usize::try_from(seq - 1).unwrap()]
    }

    pub(super) fn last_seq(&self) -> i64 {
        i64::try_from(self.log.len()).unwrap()
    }

    pub(super) fn unread(&self, user: usize, now: i64) -> usize {
        let read = self.members[&user].read_up_to;
        let counts = |seq: &i64| {
            let message = self.at(*seq);
            *seq > read && message.sender != user && !message.is_deleted && !message.is_system
        };
        self.visible(user, now).iter().filter(|seq| counts(seq)).count()
    }
}

impl Truth {
    pub(super) fn number(&self, user: &Value) -> usize {
        self.users.iter().position(|known| user == known.as_str()).unwrap_or_else(|| panic!("nobody is {user}"))
    }

    pub(super) fn has_blocked(&self, user: usize, other: usize) -> bool {
        self.blocks.get(&(user, other)).is_some_and(Timeline::now)
    }

    fn had_blocked(&self, user: usize, other: usize, moment: i64) -> bool {
        self.blocks.get(&(user, other)).is_some_and(|blocked| blocked.at(moment))
    }

    pub(super) fn block(&mut self, user: usize, other: usize, at: i64, is_blocked: bool) {
        self.blocks.entry((user, other)).or_insert_with(|| Timeline::new(false)).set(at, is_blocked);
    }

    /// The other side of a direct chat.
    pub(super) fn peer(&self, chat: &Chat, user: usize) -> Option<usize> {
        if chat.is_group { None } else { chat.members.keys().copied().find(|member| *member != user) }
    }

    pub(super) fn may_send(&self, chat: &Chat, user: usize) -> Verdict {
        match (chat.entry(user), self.peer(chat, user)) {
            (Verdict::Allowed, Some(peer)) if self.has_blocked(user, peer) => Verdict::Refused(403, "USER_BLOCKED"),
            (Verdict::Allowed, _) if chat.is_admin_only && !chat.is_admin(user) => FORBIDDEN,
            (entry, _) => entry,
        }
    }

    /// Whether a block stands between two users, in either direction.
    pub(super) fn are_at_odds(&self, user: usize, other: usize) -> bool {
        self.has_blocked(user, other) || self.has_blocked(other, user)
    }

    fn knows_reads(&self, reader: usize, viewer: usize) -> bool {
        reader == viewer || !(self.silent.contains(&reader) || self.silent.contains(&viewer))
    }

    /// How far one recipient got with a message, as far as the viewer may know it.
    fn state(&self, chat: &Chat, seq: i64, recipient: usize, viewer: usize) -> &'static str {
        let message = chat.at(seq);
        let is_read = chat.members[&recipient].read_up_to >= seq;
        if message.withheld_from == Some(recipient) {
            "sent"
        } else if is_read && self.knows_reads(recipient, viewer) {
            "read"
        } else if is_read || message.delivered_to.contains(&recipient) {
            "delivered"
        } else {
            "sent"
        }
    }

    /// The weakest state over all recipients.
    fn status(&self, chat: &Chat, seq: i64, viewer: usize) -> &'static str {
        let rank = |state: &&str| ["sent", "delivered", "read"].iter().position(|known| known == state);
        let sender = chat.at(seq).sender;
        let recipients = chat.present().filter(|(user, member)| *user != sender && member.joined_seq().is_some_and(|after| after < seq));
        recipients.map(|(user, _)| self.state(chat, seq, user, viewer)).min_by_key(rank).unwrap_or("sent")
    }

    /// Compares a message as it was shown to a user.
    pub(super) fn judge_message(&self, chat: &Chat, user: usize, shown: &Value) -> Result<(), String> {
        let seq = integer(&shown["seq"]);
        let message = chat.at(seq);
        let fail = |what: &str| Err(format!("{what} of place {seq}: shown to user {user} as {shown}, is {message:?}"));
        if shown["message_id"] != message.id.as_str() {
            return fail("another id");
        }
        if shown["type"] != "system" && shown["sender_id"] != self.users[message.sender].as_str() {
            return fail("another sender");
        }
        if shown["is_deleted"] != message.is_deleted || (message.is_deleted && shown["payload"]["body"] != "This message was deleted") {
            return fail("the deletion");
        }
        if !message.is_deleted && !message.is_system && shown["payload"]["body"] != message.says_to(user).0 {
            return fail("the text");
        }
        let visible = message.reactions.iter().filter(|(_, (_, withheld_from))| *withheld_from != Some(user));
        let given: BTreeMap<String, String> = visible.map(|(user, (emoji, _))| (self.users[*user].clone(), emoji.clone())).collect();
        if !message.is_deleted && reactions(shown) != given {
            return fail("the reactions");
        }
        if shown["is_starred"] != (message.stars.contains(&user) && !message.is_deleted) && !message.is_deleted {
            return fail("the star");
        }
        if !message.is_deleted && shown["edited_at"].is_string() != message.says_to(user).1 {
            return fail("the edit");
        }
        if !message.is_system && shown["status"] != self.status(chat, seq, user) {
            return fail(&format!("the state, {} ", self.status(chat, seq, user)));
        }
        if shown["forwarded"] != message.is_forwarded {
            return fail("the forward");
        }
        Ok(())
    }

    /// Whether this frame may have been handed to this user at the moment it says.
    pub(super) fn judge_frame(&self, user: usize, frame: &Value) -> Result<(), String> {
        let (event, data) = (frame["event"].as_str().unwrap(), &frame["data"]);
        let moment = Timestamp::parse(frame["timestamp"].as_str().unwrap()).unwrap().as_millis();
        let fail = |why: &str| Err(format!("user {user} got what they may not see ({why}): {frame}"));
        if event == "presence" {
            let owner = self.number(&data["user_id"]);
            let is_hidden = owner != user && (self.had_blocked(owner, user, moment) || self.had_blocked(user, owner, moment));
            return if is_hidden && (data["online"] == true || !data["last_seen"].is_null()) { fail("the presence of a blocked") } else { Ok(()) };
        }
        let Some(chat_id) = data["chat_id"].as_str() else { return Ok(()) };
        let Some(chat) = self.chats.iter().find(|chat| chat.id == chat_id) else { return fail("an unknown chat") };
        let Some(member) = chat.members.get(&user) else { return fail("a foreign chat") };
        let is_own_removal = event == "group.member.removed" && data["user_id"] == self.users[user].as_str();
        let Some(after) = member.inside.at(moment) else {
            return if is_own_removal { Ok(()) } else { fail("after they left") };
        };
        let others = || chat.members.keys().filter(|other| **other != user);
        match event {
            "message.new" | "message.edited" => {
                let seq = integer(&data["seq"]);
                match chat.log.get(usize::try_from(seq - 1).unwrap()) {
                    None => fail("a message nobody wrote"),
                    Some(message) if message.id != text(&data["message_id"]) => fail("another message at its place"),
                    Some(message) if message.withheld_from == Some(user) => fail("a withheld message"),
                    Some(_) if seq <= after => fail("a message from before they came"),
                    Some(message) if message.expires_at.is_some_and(|at| at <= moment) && event == "message.new" => fail("an expired message"),
                    Some(_) => Ok(()),
                }
            }
            "message.status" => {
                let reader = self.number(&data["user_id"]);
                if data["status"] == "read" && !self.knows_reads(reader, user) { fail("a read") } else { Ok(()) }
            }
            "message.deleted" if data["deleted_for_everyone"] != true && data["deleted_by"] != self.users[user].as_str() => fail("another's deletion"),
            "typing" if self.users[user] == text(&data["user_id"]) => fail("their own typing"),
            "typing" if data["is_typing"] == true && !chat.is_group => {
                let is_blocked = others().any(|other| self.had_blocked(*other, user, moment) || self.had_blocked(user, *other, moment));
                if is_blocked { fail("the typing of a blocked") } else { Ok(()) }
            }
            "chat.created" if !chat.is_group && data["created_by"] != self.users[user].as_str() => {
                if others().any(|other| self.had_blocked(user, *other, moment)) { fail("a chat made by a blocked") } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}
