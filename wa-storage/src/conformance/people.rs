//! Users, chats and messages for the cases to work with.

use std::sync::Arc;

use wa_core::chat::{Chat, Membership, Pair};
use wa_core::emoji::Emoji;
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::message::{Content, Message, Seq, Text};
use wa_core::phone::Phone;
use wa_core::ports::{Annotations, Appended, Change, Edit, NewDirectChat, NewMessage, NewUser, Outcome, Page, Revision, Viewer};
use wa_core::receipt::{NewReceipt, Receipted};

use super::Subject;

/// A text.
pub(super) fn text(body: &str) -> Content {
    Content::Text(Text { body: body.to_owned(), mentions: Vec::new() })
}

/// A phone number of a test range.
pub(super) fn phone(number: u32) -> Phone {
    format!("+1555010{number:04}").parse().expect("a number of a test range is possible")
}

impl Subject {
    pub(super) async fn user(&self) -> UserId {
        let new = NewUser { id: self.id(), phone: None, display_name: "Somebody".to_owned(), at: self.now() };
        self.users.register(new).await.expect("a user is registered").0.id
    }

    pub(super) async fn user_with_phone(&self, phone: Phone) -> UserId {
        let new = NewUser { id: self.id(), phone: Some(phone), display_name: "Somebody".to_owned(), at: self.now() };
        self.users.register(new).await.expect("a user is registered").0.id
    }

    pub(super) fn new_chat(&self, a: UserId, b: UserId) -> NewDirectChat {
        NewDirectChat { id: self.id(), event_id: self.id(), pair: Pair::of(a, b).expect("two users"), created_by: a, at: self.now() }
    }

    pub(super) async fn chat_of(&self, a: UserId, b: UserId) -> Chat {
        self.chats.create_direct(self.new_chat(a, b)).await.expect("a chat is made").0
    }

    /// Two users and their chat. What making them announced is drained.
    pub(super) async fn direct(&self) -> (UserId, UserId, ChatId) {
        let (a, b) = (self.user().await, self.user().await);
        let chat = self.chat_of(a, b).await.id;
        self.outbox.drain().await;
        (a, b, chat)
    }

    pub(super) async fn membership(&self, chat: ChatId) -> Arc<Membership> {
        self.chats.membership(chat).await.expect("the membership is read").expect("the chat exists")
    }

    /// A message on the present membership, under a key of its own.
    pub(super) async fn message(&self, chat: ChatId, sender: UserId, content: Content) -> NewMessage {
        let membership_version = self.membership(chat).await.version;
        NewMessage { membership_version, sender_name: "Somebody".to_owned(), ..self.env.message(chat, sender, content) }
    }

    pub(super) async fn append(&self, message: NewMessage) -> Message {
        match self.messages.append(message).await.expect("the append is answered") {
            Appended::Stored(message) => message,
            other => panic!("expected a stored message, got {other:?}"),
        }
    }

    pub(super) async fn send(&self, chat: ChatId, sender: UserId, body: &str) -> Message {
        self.append(self.message(chat, sender, text(body)).await).await
    }

    /// Sends as many messages, one after the other.
    pub(super) async fn send_many(&self, chat: ChatId, sender: UserId, count: usize) -> Vec<Message> {
        let mut sent = Vec::with_capacity(count);
        for number in 0..count {
            sent.push(self.send(chat, sender, &format!("message {number}")).await);
        }
        sent
    }

    /// Whoever looks from the beginning.
    pub(super) fn viewer(&self, chat: ChatId, user: UserId) -> Viewer {
        Viewer { chat_id: chat, user_id: user, above: Seq::ZERO, now: self.now() }
    }

    /// A change of a message on the present membership.
    pub(super) async fn change(&self, message: &Message, user: UserId) -> Change {
        Change {
            viewer: self.viewer(message.chat_id, user),
            message_id: message.id,
            membership_version: self.membership(message.chat_id).await.version,
            event_id: self.id(),
            origin: None,
        }
    }

    pub(super) async fn edit(&self, message: &Message, body: &str) -> Message {
        let edit = Edit { content: text(body), withheld_from: None, reply: None };
        made(self.changes.edit(self.change(message, message.sender_id).await, edit).await.expect("the edit is answered"))
    }

    pub(super) async fn delete(&self, message: &Message) -> Revision {
        made(self.changes.delete(self.change(message, message.sender_id).await).await.expect("the deletion is answered"))
    }

    pub(super) async fn react(&self, message: &Message, user: UserId, emoji: &str) -> Revision {
        let emoji = Some(Emoji::parse(emoji).expect("one emoji"));
        made(self.annotations.react(self.change(message, user).await, emoji, None).await.expect("the reaction is answered"))
    }

    pub(super) async fn star(&self, message: &Message, user: UserId, is_starred: bool) -> Revision {
        made(self.annotations.star(self.change(message, user).await, is_starred).await.expect("the star is answered"))
    }

    /// What the user sees added to a message.
    pub(super) async fn added(&self, message: &Message, user: UserId) -> Annotations {
        let places = [message.seq];
        let mut added = self.annotations.annotations(&self.viewer(message.chat_id, user), &places).await.expect("annotations are read");
        added.remove(&message.seq).unwrap_or_default()
    }

    /// The message as the user sees it.
    pub(super) async fn look(&self, message: &Message, user: UserId) -> Option<Message> {
        self.messages.get(&self.viewer(message.chat_id, user), &[message.id]).await.expect("a message is read").pop()
    }

    /// The places of everything the viewer sees, oldest first.
    pub(super) async fn seen(&self, viewer: &Viewer) -> Vec<i64> {
        seqs(&self.messages.page(viewer, Page::After(Seq::ZERO), 1000).await.expect("a page is read"))
    }

    pub(super) fn receipt(&self, chat: ChatId, user: UserId, what: Receipted) -> NewReceipt {
        NewReceipt { chat_id: chat, user_id: user, what, announce: true, origin: None, at: self.now() }
    }

    pub(super) async fn give(&self, receipt: NewReceipt) -> bool {
        self.receipts.give(receipt, self.id()).await.expect("the receipt is taken")
    }

    pub(super) async fn deliver(&self, user: UserId, messages: &[&Message]) -> bool {
        let located = messages.iter().map(|message| message.located()).collect();
        self.give(self.receipt(messages[0].chat_id, user, Receipted::Delivered(located))).await
    }

    pub(super) async fn read(&self, user: UserId, up_to: &Message) -> bool {
        self.give(self.receipt(up_to.chat_id, user, Receipted::ReadUpTo(up_to.located()))).await
    }
}

pub(super) fn made<T: std::fmt::Debug>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Made(result) => result,
        other => panic!("expected a change, got {other:?}"),
    }
}

pub(super) fn seqs(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.seq.get()).collect()
}

pub(super) fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.id).collect()
}
