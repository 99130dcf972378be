//! What people do with messages that were sent.

use serde_json::{Value, json};

use super::client::{integer, text};
use super::truth::{CONFLICT, FORBIDDEN, Message, NO_CHAT, NO_MESSAGE, Verdict};
use super::{Checked, Outcome, Simulation, check};

/// How long a message may be edited, in milliseconds.
const EDIT_WINDOW: i64 = 15 * 60 * 1000;

const EMOJI: [Option<&str>; 4] = [Some("👍"), Some("❤️"), Some("😂"), None];

/// A message for somebody to act on.
pub(super) struct Target {
    pub(super) device: usize,
    pub(super) user: usize,
    pub(super) chat: usize,
    pub(super) seq: i64,
    pub(super) id: String,
    /// What comes of it if nothing but seeing it is asked for.
    pub(super) verdict: Verdict,
}

impl Simulation {
    /// A message that somebody can see, or else any, which they must be refused.
    pub(super) fn target(&self, device: u8, chat: u8, back: u8) -> Option<Target> {
        let chat = self.chat(chat)?;
        let device = self.actor(device, chat);
        let (user, of) = (self.devices[device].user, &self.truth.chats[chat]);
        let (seq, verdict) = match (self.visible(chat, user, back), of.entry(user)) {
            (Some(seq), _) => (seq, Verdict::Allowed),
            (None, Verdict::Allowed) => return None,
            (None, NO_CHAT) => (of.last_seq() - i64::from(back), NO_MESSAGE),
            (None, refused) => (of.last_seq() - i64::from(back), refused),
        };
        (seq > 0).then(|| Target { device, user, chat, seq, id: of.at(seq).id.clone(), verdict })
    }

    fn at(&self, target: &Target) -> &Message {
        self.truth.chats[target.chat].at(target.seq)
    }

    fn at_mut(&mut self, target: &Target) -> &mut Message {
        self.truth.chats[target.chat].at_mut(target.seq)
    }

    /// The other side of a direct chat, if they have blocked whoever acts.
    fn blocker(&self, target: &Target) -> Option<usize> {
        self.truth.peer(&self.truth.chats[target.chat], target.user).filter(|peer| self.truth.has_blocked(*peer, target.user))
    }

    /// What comes of changing a message or sending it on, for whoever may.
    fn unless_unfit(&self, target: &Target, verdict: Verdict) -> Verdict {
        match self.at(target) {
            _ if target.verdict != Verdict::Allowed => target.verdict,
            message if message.is_system => FORBIDDEN,
            message if message.is_deleted => CONFLICT,
            _ => verdict,
        }
    }

    pub(super) async fn hide(&mut self, device: u8, chat: u8, back: u8) -> Checked {
        let Some(target) = self.target(device, chat, back) else { return Ok(()) };
        let rest = ("DELETE", format!("/messages/{}?for=me", target.id), None);
        let outcome = self.request(target.device, "message.delete", json!({ "message_id": target.id, "for": "me" }), rest).await?;
        if outcome.judge(target.verdict, &format!("a deletion of user {}", target.user))? {
            let user = target.user;
            let message = self.at_mut(&target);
            message.hidden_by.insert(user);
            // What somebody deletes has arrived.
            message.delivered_to.insert(user);
            self.devices[target.device].is_behind = true;
        }
        Ok(())
    }

    pub(super) async fn edit(&mut self, device: u8, chat: u8, back: u8) -> Checked {
        let Some(target) = self.target(device, chat, back) else { return Ok(()) };
        let message = self.at(&target);
        if message.is_deleted && message.sender != target.user {
            // Which of the two reasons is told does not matter.
            return Ok(());
        }
        let is_late = self.world.now() - message.sent_at > EDIT_WINDOW;
        let may_send = self.truth.may_send(&self.truth.chats[target.chat], target.user);
        let verdict = self.unless_unfit(&target, if message.sender != target.user || is_late { FORBIDDEN } else { may_send });
        // The other side goes on seeing what it said to them.
        let blocker = self.blocker(&target).filter(|_| self.at(&target).withheld_from.is_none());
        self.texts += 1;
        let body = format!("edit {}", self.texts);
        let payload = json!({ "body": body });
        let rest = ("PATCH", format!("/messages/{}", target.id), Some(json!({ "payload": payload })));
        let outcome = self.request(target.device, "message.edit", json!({ "message_id": target.id, "payload": payload }), rest).await?;
        if outcome.judge(verdict, &format!("an edit of user {}", target.user))? {
            let message = self.at_mut(&target);
            match blocker {
                Some(blocker) => drop(message.before_edit.entry(blocker).or_insert_with(|| (message.body.clone(), message.is_edited))),
                None => message.before_edit.clear(),
            }
            (message.body, message.is_edited) = (body, true);
            self.devices[target.device].is_behind = true;
        }
        Ok(())
    }

    pub(super) async fn bury(&mut self, device: u8, chat: u8, back: u8) -> Checked {
        let Some(target) = self.target(device, chat, back) else { return Ok(()) };
        let (message, of) = (self.at(&target), &self.truth.chats[target.chat]);
        let verdict = match target.verdict {
            Verdict::Allowed if message.is_system => FORBIDDEN,
            Verdict::Allowed if message.sender == target.user || of.is_admin(target.user) => Verdict::Allowed,
            Verdict::Allowed => FORBIDDEN,
            refused => refused,
        };
        let rest = ("DELETE", format!("/messages/{}?for=everyone", target.id), None);
        let outcome = self.request(target.device, "message.delete", json!({ "message_id": target.id, "for": "everyone" }), rest).await?;
        if outcome.judge(verdict, &format!("a deletion for everyone by user {}", target.user))? {
            let message = self.at_mut(&target);
            message.is_deleted = true;
            message.reactions.clear();
            message.stars.clear();
            self.devices[target.device].is_behind = true;
        }
        Ok(())
    }

    pub(super) async fn react(&mut self, device: u8, chat: u8, back: u8, emoji: u8) -> Checked {
        let Some(target) = self.target(device, chat, back) else { return Ok(()) };
        let emoji = EMOJI[usize::from(emoji) % EMOJI.len()];
        if emoji.is_none() && (self.at(&target).is_deleted || self.at(&target).is_system) {
            return Ok(());
        }
        let of = &self.truth.chats[target.chat];
        let has_blocked = self.truth.peer(of, target.user).is_some_and(|peer| self.truth.has_blocked(target.user, peer));
        let verdict = match self.unless_unfit(&target, Verdict::Allowed) {
            Verdict::Allowed | CONFLICT if has_blocked && emoji.is_some() => Verdict::Refused(403, "USER_BLOCKED"),
            verdict => verdict,
        };
        let blocker = self.blocker(&target);
        let path = format!("/messages/{}/react", target.id);
        let rest = match emoji {
            Some(emoji) => ("POST", path, Some(json!({ "emoji": emoji }))),
            None => ("DELETE", path, None),
        };
        let outcome = self.request(target.device, "message.react", json!({ "message_id": target.id, "emoji": emoji }), rest).await?;
        if outcome.judge(verdict, &format!("a reaction of user {}", target.user))? {
            let user = target.user;
            let message = self.at_mut(&target);
            match emoji {
                Some(emoji) => drop(message.reactions.insert(user, (emoji.to_owned(), blocker))),
                None => drop(message.reactions.remove(&user)),
            }
            self.devices[target.device].is_behind = true;
        }
        Ok(())
    }

    pub(super) async fn star(&mut self, device: u8, chat: u8, back: u8, is_starred: bool) -> Checked {
        let Some(target) = self.target(device, chat, back) else { return Ok(()) };
        if !is_starred && (self.at(&target).is_deleted || self.at(&target).is_system) {
            return Ok(());
        }
        let verdict = self.unless_unfit(&target, Verdict::Allowed);
        let (method, token) = (if is_starred { "POST" } else { "DELETE" }, self.token_of(target.user));
        let outcome = Outcome::Rest(self.world.ask(method, &format!("/messages/{}/star", target.id), &token, None).await);
        if outcome.judge(verdict, &format!("a star of user {}", target.user))? {
            let user = target.user;
            let message = self.at_mut(&target);
            if is_starred {
                message.stars.insert(user)
            } else {
                message.stars.remove(&user)
            };
            self.devices[target.device].is_behind = true;
        }
        Ok(())
    }

    pub(super) async fn forward(&mut self, device: u8, chat: u8, back: u8, to: u8) -> Checked {
        let (Some(target), Some(to)) = (self.target(device, chat, back), self.chat(to)) else { return Ok(()) };
        let user = target.user;
        let into = &self.truth.chats[to];
        let verdict = match (self.unless_unfit(&target, Verdict::Allowed), self.truth.may_send(into, user)) {
            (Verdict::Allowed, may_send) => may_send,
            (refused, Verdict::Allowed) => refused,
            // Which of two reasons is told does not matter.
            _ => return Ok(()),
        };
        let withheld_from = self.truth.peer(into, user).filter(|peer| self.truth.has_blocked(*peer, user));
        let (token, body) = (self.devices[target.device].token.clone(), json!({ "target_chat_ids": [into.id] }));
        let outcome = Outcome::Rest(self.world.ask("POST", &format!("/messages/{}/forward", target.id), &token, Some(body)).await);
        if !outcome.judge(verdict, &format!("a forward of user {user}"))? {
            return Ok(());
        }
        let id = text(&outcome.data()["forwarded_messages"][0]["message_id"]);
        let sent = self.message(user, to, &id).await?;
        let (now, body) = (self.world.now(), self.at(&target).says_to(user).0.to_owned());
        let into = &mut self.truth.chats[to];
        check(integer(&sent["seq"]) == into.last_seq() + 1, || format!("a forward stands at {} after {}", sent["seq"], into.last_seq()))?;
        let message = Message::text(id, user, body, withheld_from, now);
        into.log.push(Message { is_forwarded: true, expires_at: into.lifetime.map(|lifetime| now + lifetime), ..message });
        Ok(())
    }

    /// A message among the newest of a chat, as one user sees it.
    async fn message(&self, user: usize, chat: usize, id: &str) -> Checked<Value> {
        let path = format!("/chats/{}/messages?limit=1", self.truth.chats[chat].id);
        let page = self.world.ask("GET", &path, &self.token_of(user), None).await.ok();
        let newest = page["messages"][0].clone();
        check(newest["message_id"] == id, || format!("the newest message is {newest}, not {id}"))?;
        Ok(newest)
    }
}
