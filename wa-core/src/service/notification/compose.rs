//! What a push says, in the eyes of the one who gets it: names and pictures as their owners show them.

use super::{ChatKind, Due, Message, Notice, NotificationService, Reached, Result, UserId, Waiting};
use crate::push::Sender;

impl NotificationService {
    pub(super) async fn message_notice(&self, reached: &Reached, waiting: &Waiting, all: bool, due: &Due) -> Result<Notice> {
        let kind = reached.listed.chat.kind;
        let message: &Message = if all { &waiting.newest } else { &waiting.oldest };
        let sender = self.sender(due.token.user_id, message.sender_id).await?;
        if !all {
            return Ok(Notice::of_message(message, kind, sender));
        }
        let name = match (&reached.listed.chat.group, kind) {
            (Some(group), ChatKind::Group) => group.name.clone(),
            _ => sender.name.clone(),
        };
        Ok(Notice::of_messages(waiting.count, message, kind, &name, sender))
    }

    /// `None` if it is not known who added them, or to what.
    pub(super) async fn joining_notice(&self, reached: &Reached, due: &Due) -> Result<Option<Notice>> {
        let (Some(by), Some(group)) = (due.by, &reached.listed.chat.group) else { return Ok(None) };
        let sender = self.sender(due.token.user_id, by).await?;
        Ok(Some(Notice::of_joining(due.chat_id, &group.name, by, sender, due.noted_at)))
    }

    /// Somebody as this viewer sees them. Who gave no name is called by their number, if the viewer has it.
    async fn sender(&self, viewer: UserId, id: UserId) -> Result<Sender> {
        let seen = self.people.seen_by(viewer, &[id]).await?.remove(&id);
        let Some(seen) = seen else { return Ok(Sender { name: self.deps.names.of(id).await?.to_string(), avatar: String::new() }) };
        let name = match seen.user.shown_name() {
            "" => seen.phone(),
            name => name.to_owned(),
        };
        Ok(Sender { name, avatar: seen.avatar().unwrap_or_default() })
    }
}
