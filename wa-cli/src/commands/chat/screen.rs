//! What a conversation looks like: events in, lines out. It prints nothing itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wa_core::chat::ChatView;
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::message::{MessageKind, MessageView, Seq, cut};
use wa_core::receipt::Status;
use wa_core::user::PresenceView;
use wa_transport::client::{Receipt, ServerEvent};

use crate::commands::history::{body, line, speaker};
use crate::failure::Failure;
use crate::output::{Output, plain, when};

/// Own messages whose ticks are followed.
const MAX_FOLLOWED: usize = 500;

/// Messages that commands may name.
const MAX_RECENT: usize = 100;

/// One of this person's messages.
#[derive(Debug)]
struct Own {
    id: MessageId,
    status: Status,
    preview: String,
    /// Who has it at least.
    delivered: BTreeSet<UserId>,
    read: BTreeSet<UserId>,
}

/// A message that a command may name.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) id: MessageId,
    pub(super) is_own: bool,
    preview: String,
}

/// A chat as it is shown.
#[derive(Debug)]
pub(super) struct Screen {
    me: UserId,
    chat: ChatView,
    output: Output,
    /// The newest message shown.
    shown: Seq,
    last_of_others: Option<MessageId>,
    own: BTreeMap<Seq, Own>,
    /// The newest messages, oldest first.
    recent: VecDeque<Recent>,
    typing: bool,
    presence: Option<PresenceView>,
    is_connected: bool,
}

impl Screen {
    pub(super) fn new(me: UserId, chat: ChatView, output: Output) -> Self {
        Self {
            me,
            chat,
            output,
            shown: Seq::ZERO,
            last_of_others: None,
            own: BTreeMap::new(),
            recent: VecDeque::new(),
            typing: false,
            presence: None,
            is_connected: true,
        }
    }

    pub(super) const fn chat_id(&self) -> ChatId {
        self.chat.chat_id
    }

    /// The other person of a direct chat.
    pub(super) fn peer(&self) -> Option<UserId> {
        self.chat.participant.as_ref().map(|peer| peer.id)
    }

    /// The newest message shown.
    pub(super) const fn shown(&self) -> Seq {
        self.shown
    }

    /// The newest message of somebody else that was shown.
    pub(super) const fn last_of_others(&self) -> Option<MessageId> {
        self.last_of_others
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The lines that an event adds to the conversation.
    pub(super) fn event(&mut self, event: &ServerEvent) -> Result<Vec<String>, Failure> {
        let lines = match event {
            ServerEvent::Message(message) if message.chat_id == self.chat.chat_id => {
                if message.seq <= self.shown {
                    return Ok(Vec::new());
                }
                vec![self.message(message)]
            }
            ServerEvent::MessageChanged(message) if message.chat_id == self.chat.chat_id => {
                self.remember(message);
                vec![format!("{} {}", self.output.dim("now"), self.said(message))]
            }
            ServerEvent::MessageDeleted(deleted) if deleted.chat_id == self.chat.chat_id => {
                let told = self.about(deleted.message_id, "was deleted");
                self.recent.retain(|recent| recent.id != deleted.message_id);
                vec![self.output.dim(&told)]
            }
            ServerEvent::Reaction(reaction) if reaction.chat_id == self.chat.chat_id => {
                let name = speaker(&self.chat, self.me, reaction.user_id);
                let told = match &reaction.emoji {
                    Some(emoji) => self.about(reaction.message_id, &format!("got {} from {name}", plain(emoji))),
                    None => self.about(reaction.message_id, &format!("has no reaction of {name} any more")),
                };
                vec![self.output.dim(&told)]
            }
            ServerEvent::Starred(starred) if starred.chat_id == self.chat.chat_id => {
                vec![self.output.dim(&self.about(starred.message_id, if starred.is_starred { "has your star ★" } else { "has no star any more" }))]
            }
            ServerEvent::Receipt(receipt) if receipt.chat_id == self.chat.chat_id => self.receipt(receipt).into_iter().collect(),
            ServerEvent::Typing(typing) if typing.chat_id == self.chat.chat_id && typing.user_id != self.me => {
                let began = typing.is_typing && !self.typing;
                self.typing = typing.is_typing;
                let name = speaker(&self.chat, self.me, typing.user_id);
                began.then(|| self.output.dim(&format!("{name} is typing…"))).into_iter().collect()
            }
            ServerEvent::Chat(chat) if chat.chat_id == self.chat.chat_id => {
                self.chat = ChatView::clone(chat);
                Vec::new()
            }
            ServerEvent::ChatRemoved { chat_id } if *chat_id == self.chat.chat_id => vec![self.output.dim("You are no longer in this chat.")],
            ServerEvent::HistoryFrom { chat_id, .. } if *chat_id == self.chat.chat_id => {
                vec![self.output.dim("You had left this chat and are in it again; what was said before is no longer yours to read.")]
            }
            ServerEvent::Presence(presence) if Some(presence.user_id) == self.peer() => self.presence(*presence).into_iter().collect(),
            ServerEvent::Connected | ServerEvent::Disconnected { .. } => Vec::new(),
            _ => return Ok(Vec::new()),
        };
        if self.output.is_json() {
            let line = serde_json::to_string(event).map_err(|e| Failure::general(e.to_string()))?;
            return Ok(vec![line]);
        }
        Ok(lines)
    }

    /// What an event means to the person beyond the conversation.
    pub(super) fn notice(&mut self, event: &ServerEvent) -> Option<String> {
        match event {
            ServerEvent::Connected if !self.is_connected => {
                self.is_connected = true;
                Some("Connected again.".to_owned())
            }
            ServerEvent::Disconnected { reason, .. } if self.is_connected => {
                self.is_connected = false;
                Some(format!("Disconnected: {reason}. It comes back by itself."))
            }
            _ => None,
        }
    }

    /// A message by its number from the end, 1 being the newest, of those that `fits`.
    pub(super) fn recent(&self, number: usize, fits: impl Fn(&Recent) -> bool) -> Option<&Recent> {
        self.recent.iter().rev().filter(|recent| fits(recent)).nth(number.checked_sub(1)?)
    }

    fn remember(&mut self, message: &MessageView) {
        let recent = Recent { id: message.message_id, is_own: message.sender_id == self.me, preview: cut(&body(message), 30) };
        match self.recent.iter_mut().find(|known| known.id == recent.id) {
            Some(known) => *known = recent,
            None => self.recent.push_back(recent),
        }
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
    }

    fn about(&self, message: MessageId, news: &str) -> String {
        match self.recent.iter().find(|recent| recent.id == message) {
            Some(recent) => format!("\u{201c}{}\u{201d} {news}", recent.preview),
            None => format!("An older message {news}"),
        }
    }

    fn said(&self, message: &MessageView) -> String {
        line(message, &speaker(&self.chat, self.me, message.sender_id), self.output)
    }

    fn message(&mut self, message: &MessageView) -> String {
        self.shown = message.seq;
        self.typing = false;
        let said = self.said(message);
        if message.kind == MessageKind::System {
            return said;
        }
        self.remember(message);
        if message.sender_id != self.me {
            self.last_of_others = Some(message.message_id);
            return said;
        }
        let (delivered, read) = (BTreeSet::new(), BTreeSet::new());
        self.own.insert(message.seq, Own { id: message.message_id, status: message.status, preview: cut(&body(message), 30), delivered, read });
        if self.own.len() > MAX_FOLLOWED {
            self.own.pop_first();
        }
        format!("{said} {}", self.ticks(message.status))
    }

    /// The ticks of the newest message that a receipt raised, if any.
    fn receipt(&mut self, receipt: &Receipt) -> Option<String> {
        if receipt.user_id == self.me {
            return None;
        }
        let others = self.others();
        let covered = |seq: Seq, own: &Own| Some(own.id) == receipt.message_id || receipt.up_to_seq.is_some_and(|up_to| seq <= up_to);
        let mut newest = None;
        for (seq, own) in &mut self.own {
            if !covered(*seq, own) {
                continue;
            }
            own.delivered.insert(receipt.user_id);
            if receipt.status == Status::Read {
                own.read.insert(receipt.user_id);
            }
            // A message is as far as it is with the last of them.
            let status = if others.is_subset(&own.read) {
                Status::Read
            } else if others.is_subset(&own.delivered) {
                Status::Delivered
            } else {
                Status::Sent
            };
            if own.status < status {
                own.status = status;
                newest = Some((status, own.preview.clone()));
            }
        }
        let (status, preview) = newest?;
        let what = if status == Status::Read { "read" } else { "delivered" };
        Some(format!("  {} {}", self.ticks(status), self.output.dim(&format!("{what}: {preview}"))))
    }

    /// Everybody else in the chat.
    fn others(&self) -> BTreeSet<UserId> {
        self.chat.participants.iter().map(|member| member.user_id).chain(self.peer()).filter(|user| *user != self.me).collect()
    }

    fn ticks(&self, status: Status) -> String {
        match status {
            Status::Sent => self.output.dim("✓"),
            Status::Delivered => self.output.dim("✓✓"),
            Status::Read => self.output.blue("✓✓"),
        }
    }

    fn presence(&mut self, presence: PresenceView) -> Option<String> {
        let before = self.presence.replace(presence);
        if before == Some(presence) {
            return None;
        }
        let name = plain(&self.chat.name);
        let news = match (presence.online, presence.last_seen, before) {
            (true, ..) => format!("{name} is online"),
            (false, Some(at), _) => format!("{name} was last seen {}", when(at)),
            (false, None, Some(before)) if before.online => format!("{name} is offline"),
            (false, None, _) => return None,
        };
        Some(self.output.dim(&news))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Format;

    const ME: &str = "018f3f6e-7b1c-7c4e-8a57-000000000001";
    const BOB: &str = "018f3f6e-7b1c-7c4e-8a57-000000000002";
    const CHAT: &str = "018f3f6e-7b1c-7c4e-8a57-000000000003";

    fn screen() -> Screen {
        let at = "2026-01-01T00:00:00.000Z";
        let chat = json!({
            "chat_id": CHAT, "type": "direct", "name": "Bob", "description": "", "participant": {"id": BOB, "display_name": "Bob"}, "participants": [],
            "unread_count": 0, "is_muted": false, "is_pinned": false, "is_admin_only": false, "auto_delete_timer": "off", "last_seq": 0, "rev": 0,
            "created_at": at, "updated_at": at
        });
        Screen::new(ME.parse().expect("an id"), serde_json::from_value(chat).expect("a chat"), Output::new(Format::Table))
    }

    fn message(seq: i64, sender: &str, body: &str) -> ServerEvent {
        let at = "2026-01-01T00:00:00.000Z";
        let message = json!({
            "message_id": format!("018f3f6e-7b1c-7c4e-8a57-0000000001{seq:02}"), "chat_id": CHAT, "sender_id": sender, "client_msg_id": "k", "seq": seq,
            "rev": seq, "type": "text", "payload": {"body": body}, "forwarded": false, "status": "sent", "reactions": [], "is_deleted": false,
            "is_starred": false, "created_at": at, "updated_at": at
        });
        ServerEvent::Message(Box::new(serde_json::from_value(message).expect("a message")))
    }

    fn read(up_to: i64, status: Status) -> ServerEvent {
        let chat_id = CHAT.parse().expect("an id");
        ServerEvent::Receipt(Receipt { chat_id, message_id: None, up_to_seq: Some(Seq::new(up_to)), user_id: BOB.parse().expect("an id"), status })
    }

    #[test]
    fn ticks_go_from_sent_to_delivered_to_read_and_never_back() {
        let mut screen = screen();
        let mut lines = |event: &ServerEvent| screen.event(event).expect("lines");
        assert!(lines(&message(1, ME, "hello"))[0].ends_with("you: hello ✓"));
        assert_eq!(lines(&read(1, Status::Delivered)), ["  ✓✓ delivered: hello"]);
        assert_eq!(lines(&read(1, Status::Read)), ["  ✓✓ read: hello"]);
        assert!(lines(&read(1, Status::Delivered)).is_empty());
        assert!(lines(&read(1, Status::Read)).is_empty());
    }

    #[test]
    fn in_a_group_a_message_is_as_far_as_with_the_last_member() {
        let mut screen = screen();
        screen.chat.kind = wa_core::chat::ChatKind::Group;
        screen.chat.participant = None;
        let joined_at = screen.chat.created_at;
        let carol: UserId = "018f3f6e-7b1c-7c4e-8a57-000000000004".parse().expect("an id");
        for user_id in [ME.parse().expect("an id"), BOB.parse().expect("an id"), carol] {
            let role = wa_core::chat::Role::Member;
            screen.chat.participants.push(wa_core::chat::Participant { user_id, display_name: "Bob".to_owned(), avatar_url: None, role, joined_at });
        }
        let by_carol = |status| match read(1, status) {
            ServerEvent::Receipt(receipt) => ServerEvent::Receipt(Receipt { user_id: carol, ..receipt }),
            other => other,
        };
        let mut lines = |event: &ServerEvent| screen.event(event).expect("lines");
        lines(&message(1, ME, "hello"));
        assert!(lines(&read(1, Status::Read)).is_empty());
        assert_eq!(lines(&by_carol(Status::Delivered)), ["  ✓✓ delivered: hello"]);
        assert_eq!(lines(&by_carol(Status::Read)), ["  ✓✓ read: hello"]);
    }

    #[test]
    fn what_becomes_of_a_message_is_told_by_what_it_says() {
        let mut screen = screen();
        let mut shown = |event: &ServerEvent| screen.event(event).expect("lines");
        shown(&message(1, BOB, "hello"));
        let chat_id = CHAT.parse().expect("an id");
        let message_id = "018f3f6e-7b1c-7c4e-8a57-000000000101".parse().expect("an id");
        let reaction = |emoji: Option<&str>| {
            let (user_id, emoji) = (BOB.parse().expect("an id"), emoji.map(str::to_owned));
            ServerEvent::Reaction(wa_transport::client::Reaction { chat_id, message_id, user_id, emoji })
        };
        assert_eq!(shown(&reaction(Some("👍"))), ["“hello” got 👍 from Bob"]);
        assert_eq!(shown(&reaction(None)), ["“hello” has no reaction of Bob any more"]);
        let deleted = wa_transport::client::Deleted { chat_id, message_id, for_everyone: true };
        assert_eq!(shown(&ServerEvent::MessageDeleted(deleted)), ["“hello” was deleted"]);
        assert_eq!(shown(&reaction(None)), ["An older message has no reaction of Bob any more"]);
    }

    #[test]
    fn what_the_history_showed_is_not_shown_again() {
        let mut screen = screen();
        assert!(screen.event(&message(2, BOB, "hi")).expect("lines")[0].ends_with("Bob: hi"));
        assert!(screen.event(&message(2, BOB, "hi")).expect("lines").is_empty());
        assert!(screen.event(&message(1, BOB, "older")).expect("lines").is_empty());
    }

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        let mut screen = screen();
        let lines = screen.event(&message(1, BOB, "a\u{1b}[2Jb\nc")).expect("lines");
        assert!(lines[0].ends_with("Bob: a [2Jb c"), "{lines:?}");
    }
}
