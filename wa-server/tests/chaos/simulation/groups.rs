//! What people do with groups.

use serde_json::json;

use super::client::{integer, text};
use super::truth::{Chat, FORBIDDEN, INVALID, Member, Message, NO_USER, Verdict};
use super::{Checked, Outcome, Simulation, USERS, check};

const TIMERS: [(&str, Option<i64>); 4] = [("off", None), ("24h", Some(24)), ("7d", Some(7 * 24)), ("90d", Some(90 * 24))];

impl Simulation {
    pub(super) async fn group(&mut self, user: usize, others: u8) -> Checked {
        let others: Vec<usize> = (0..USERS).filter(|other| *other != user && others & (1 << other) != 0).collect();
        if others.is_empty() {
            return Ok(());
        }
        self.texts += 1;
        let ids: Vec<&String> = others.iter().map(|other| &self.truth.users[*other]).collect();
        let body = json!({ "type": "group", "name": format!("Group {}", self.texts), "participant_ids": ids });
        let verdict = if others.iter().any(|other| self.truth.are_at_odds(user, *other)) { FORBIDDEN } else { Verdict::Allowed };
        let outcome = Outcome::Rest(self.world.ask("POST", "/chats", &self.token_of(user), Some(body)).await);
        if !outcome.judge(verdict, "a new group")? {
            return Ok(());
        }
        let now = self.world.now();
        let mut chat = Chat { id: text(&outcome.data()["chat_id"]), is_group: true, ..Chat::default() };
        chat.members.insert(user, Member::new(now, 0, true));
        for other in others {
            chat.members.insert(other, Member::new(now, 0, false));
        }
        self.truth.chats.push(chat);
        self.changed(self.truth.chats.len() - 1, None, true).await
    }

    /// Learns the system messages that tell of a change, of which there must be some if anything changed.
    async fn changed(&mut self, chat: usize, withheld_from: Option<usize>, is_change: bool) -> Checked {
        let now = self.world.now();
        let of = &self.truth.chats[chat];
        let inside = of.present().filter(|(user, _)| withheld_from != Some(*user));
        let Some(viewer) = inside.min_by_key(|(_, member)| member.joined_seq()).map(|(user, _)| user) else {
            return check(of.is_ended, || "nobody is left, and the group goes on".to_owned());
        };
        let path = format!("/chats/{}/messages?after_seq={}&limit=100", of.id, of.last_seq());
        let notes = self.world.ask("GET", &path, &self.token_of(viewer), None).await.ok();
        let shown = self.world.ask("GET", &format!("/chats/{}", of.id), &self.token_of(viewer), None).await.ok();
        let notes = notes["messages"].as_array().unwrap().clone();
        check(notes.is_empty() != is_change, || format!("a change ({is_change}) is told by {notes:?}"))?;
        for note in &notes {
            let sender = self.truth.number(&note["sender_id"]);
            let of = &mut self.truth.chats[chat];
            check(note["type"] == "system" && integer(&note["seq"]) == of.last_seq() + 1, || format!("a change is told by {note}"))?;
            of.log.push(Message::system(text(&note["message_id"]), sender, withheld_from, now));
        }
        let of = &mut self.truth.chats[chat];
        // Others' deletions for themselves raise it too.
        check(!is_change || integer(&shown["rev"]) > of.rev, || format!("rev {} after {}", shown["rev"], of.rev))?;
        of.rev = integer(&shown["rev"]);
        Ok(())
    }

    pub(super) async fn add(&mut self, user: usize, chat: u8, other: usize) -> Checked {
        let Some(chat) = self.chat(chat) else { return Ok(()) };
        let (of, is_in) = (&self.truth.chats[chat], self.truth.chats[chat].is_in(other));
        let verdict = match of.as_admin(user) {
            Verdict::Allowed if is_in => Verdict::Refused(409, "ALREADY_MEMBER"),
            Verdict::Allowed if self.truth.are_at_odds(user, other) => FORBIDDEN,
            verdict => verdict,
        };
        let body = json!({ "user_ids": [self.truth.users[other]] });
        let answer = self.world.ask("POST", &format!("/chats/{}/participants", of.id), &self.token_of(user), Some(body)).await;
        if !Outcome::Rest(answer).judge(verdict, &format!("user {user} adding user {other}"))? {
            return Ok(());
        }
        let now = self.world.now();
        self.truth.chats[chat].let_in(other, now);
        self.changed(chat, None, true).await
    }

    pub(super) async fn remove(&mut self, user: usize, chat: u8, other: usize) -> Checked {
        let Some(chat) = self.chat(chat) else { return Ok(()) };
        let of = &self.truth.chats[chat];
        let verdict = match of.entry(user) {
            Verdict::Allowed if !of.is_group => INVALID,
            Verdict::Allowed if user == other => Verdict::Allowed,
            Verdict::Allowed if of.is_admin(user) && !of.is_in(other) => NO_USER,
            Verdict::Allowed => of.as_admin(user),
            entry => entry,
        };
        let path = format!("/chats/{}/participants/{}", of.id, self.truth.users[other]);
        let answer = self.world.ask("DELETE", &path, &self.token_of(user), None).await;
        if !Outcome::Rest(answer).judge(verdict, &format!("user {user} removing user {other}"))? {
            return Ok(());
        }
        let now = self.world.now();
        self.truth.chats[chat].let_go(other, now);
        self.changed(chat, None, true).await
    }

    pub(super) async fn role(&mut self, user: usize, chat: u8, other: usize, is_admin: bool) -> Checked {
        let Some(chat) = self.chat(chat) else { return Ok(()) };
        let of = &self.truth.chats[chat];
        let admins = of.present().filter(|(_, member)| member.is_admin).count();
        let verdict = match of.as_admin(user) {
            Verdict::Allowed if !of.is_in(other) => NO_USER,
            Verdict::Allowed if !is_admin && of.is_admin(other) && admins == 1 => Verdict::Refused(409, "LAST_ADMIN"),
            verdict => verdict,
        };
        let path = format!("/chats/{}/participants/{}/role", of.id, self.truth.users[other]);
        let body = json!({ "role": if is_admin { "admin" } else { "member" } });
        let answer = self.world.ask("PATCH", &path, &self.token_of(user), Some(body)).await;
        if !Outcome::Rest(answer).judge(verdict, &format!("user {user} changing the role of user {other}"))? {
            return Ok(());
        }
        let Some(member) = self.truth.chats[chat].members.get_mut(&other) else { return Ok(()) };
        let is_change = std::mem::replace(&mut member.is_admin, is_admin) != is_admin;
        self.changed(chat, None, is_change).await
    }

    pub(super) async fn profile(&mut self, user: usize, chat: u8, change: serde_json::Value) -> Checked {
        let Some(chat) = self.chat(chat) else { return Ok(()) };
        let (of, verdict) = (&self.truth.chats[chat], self.truth.chats[chat].as_admin(user));
        let answer = self.world.ask("PATCH", &format!("/chats/{}", of.id), &self.token_of(user), Some(change.clone())).await;
        if !Outcome::Rest(answer).judge(verdict, &format!("user {user} changing a group"))? {
            return Ok(());
        }
        let of = &mut self.truth.chats[chat];
        let is_change = change["is_admin_only"].as_bool().is_none_or(|is| std::mem::replace(&mut of.is_admin_only, is) != is);
        self.changed(chat, None, is_change).await
    }

    pub(super) async fn timer(&mut self, user: usize, chat: u8, timer: usize) -> Checked {
        let Some(chat) = self.chat(chat) else { return Ok(()) };
        let (timer, hours) = TIMERS[timer % TIMERS.len()];
        let of = &self.truth.chats[chat];
        let peer = self.truth.peer(of, user);
        let verdict = match (of.entry(user), peer) {
            (Verdict::Allowed, Some(peer)) if self.truth.has_blocked(user, peer) => Verdict::Refused(403, "USER_BLOCKED"),
            (Verdict::Allowed, Some(_)) => Verdict::Allowed,
            (Verdict::Allowed, None) => of.as_admin(user),
            (entry, _) => entry,
        };
        let path = format!("/chats/{}/disappearing", of.id);
        let answer = self.world.ask("PUT", &path, &self.token_of(user), Some(json!({ "timer": timer }))).await;
        if !Outcome::Rest(answer).judge(verdict, &format!("user {user} setting the timer"))? {
            return Ok(());
        }
        let withheld_from = peer.filter(|peer| self.truth.has_blocked(*peer, user));
        let of = &mut self.truth.chats[chat];
        let lifetime = hours.map(|hours| hours * 3_600_000);
        let is_change = std::mem::replace(&mut of.lifetime, lifetime) != lifetime;
        self.changed(chat, withheld_from, is_change).await
    }

    pub(super) async fn join(&mut self, user: usize, chat: u8) -> Checked {
        let Some(chat) = self.chat(chat) else { return Ok(()) };
        let of = &self.truth.chats[chat];
        let Some(admin) = of.present().find(|(_, member)| member.is_admin).map(|(user, _)| user) else { return Ok(()) };
        let invite = self.world.ask("POST", &format!("/chats/{}/invite", of.id), &self.token_of(admin), None).await.ok();
        let answer = self.world.ask("POST", "/chats/join", &self.token_of(user), Some(json!({ "code": invite["code"] }))).await;
        check(answer.status == 200, || format!("an invite was refused: {}", answer.body))?;
        let (is_change, now) = (!of.is_in(user), self.world.now());
        if is_change {
            self.truth.chats[chat].let_in(user, now);
        }
        self.changed(chat, None, is_change).await
    }
}
