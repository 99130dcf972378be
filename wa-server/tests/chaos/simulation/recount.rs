//! What the server shows to a user, all of it, against what must be true: their chats, what is unread, every page of history,
//! and what a search finds.

use std::collections::BTreeSet;

use serde_json::Value;

use super::client::{integer, text};
use super::truth::{Chat, Verdict};
use super::{Checked, Simulation, check};

impl Simulation {
    /// Compares what the server shows to a user with what must be true.
    pub(super) async fn recount(&self, user: usize, chats: &BTreeSet<usize>) -> Checked {
        let (token, now) = (self.token_of(user), self.world.now());
        let list = self.world.ask("GET", "/chats?limit=100", &token, None).await.ok();
        let listed: Vec<&str> = list["chats"].as_array().unwrap().iter().map(|chat| chat["chat_id"].as_str().unwrap()).collect();
        for (number, chat) in self.truth.chats.iter().enumerate() {
            let is_in = chat.entry(user) == Verdict::Allowed;
            check(listed.contains(&chat.id.as_str()) == is_in, || format!("user {user} is in {}: {is_in}; listed {listed:?}", chat.id))?;
            if is_in {
                let shown = list["chats"].as_array().unwrap().iter().find(|shown| shown["chat_id"] == chat.id.as_str()).unwrap();
                self.recount_chat(chat, user, shown, &token, now, chats.contains(&number)).await?;
            }
        }
        Ok(())
    }

    async fn recount_chat(&self, chat: &Chat, user: usize, shown: &Value, token: &str, now: i64, wholly: bool) -> Checked {
        let visible = chat.visible(user, now);
        check(shown["unread_count"] == chat.unread(user, now), || {
            format!("unread of user {user}: {}, and is {}", shown["unread_count"], chat.unread(user, now))
        })?;
        check(shown["last_seq"] == chat.last_seq(), || format!("last_seq of user {user}: {}, and is {}", shown["last_seq"], chat.last_seq()))?;
        check(integer(&shown["rev"]) >= chat.rev, || format!("rev {} is below {}", shown["rev"], chat.rev))?;
        let newest = visible.last().map(|seq| chat.at(*seq).id.as_str());
        check(shown["last_message"]["message_id"].as_str() == newest, || {
            format!("the newest message of user {user}: {}, is {newest:?}", shown["last_message"])
        })?;
        if !wholly {
            return Ok(());
        }
        let mut seen = Vec::new();
        let mut path = format!("/chats/{}/messages?limit=100", chat.id);
        loop {
            let page = self.world.ask("GET", &path, token, None).await.ok();
            for message in page["messages"].as_array().unwrap() {
                let seq = integer(&message["seq"]);
                check((1..=chat.last_seq()).contains(&seq), || format!("a message nobody wrote: {message}"))?;
                check(visible.contains(&seq), || format!("user {user} must not see place {seq}: {message}"))?;
                self.truth.judge_message(chat, user, message)?;
                seen.push(seq);
            }
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/chats/{}/messages?limit=100&cursor={cursor}", chat.id);
        }
        seen.reverse();
        check(seen == visible, || format!("user {user} sees {seen:?} of {visible:?}"))
    }

    /// A search over all of a user's chats finds every message with the word that they may see, and no other.
    pub(super) async fn search(&self, user: usize, word: &str) -> Checked {
        let (token, now) = (self.token_of(user), self.world.now());
        let (mut found, mut path) = (BTreeSet::new(), format!("/messages/search?limit=100&q={word}"));
        loop {
            let page = self.world.ask("GET", &path, &token, None).await.ok();
            for result in page["results"].as_array().unwrap() {
                let message = &result["message"];
                let Some(chat) = self.truth.chats.iter().find(|chat| message["chat_id"] == chat.id.as_str()) else {
                    return Err(format!("a search found a message of no chat: {message}"));
                };
                let seq = integer(&message["seq"]);
                check(chat.visible(user, now).contains(&seq), || format!("a search showed user {user} place {seq}: {message}"))?;
                check(message["is_deleted"] == false, || format!("a search found what was deleted: {message}"))?;
                self.truth.judge_message(chat, user, message)?;
                check(found.insert(text(&message["message_id"])), || format!("a search found a message twice: {message}"))?;
            }
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/messages/search?limit=100&q={word}&cursor={cursor}");
        }
        for chat in self.truth.chats.iter().filter(|chat| chat.entry(user) == Verdict::Allowed) {
            for seq in chat.visible(user, now) {
                let message = chat.at(seq);
                let is_told = !message.is_deleted && !message.is_system && message.says_to(user).0.starts_with(word);
                check(is_told == found.contains(&message.id), || format!("a search for {word} is to show user {user} place {seq}: {message:?}"))?;
            }
        }
        Ok(())
    }
}
