//! Stars: one's own marks on messages, and the list of them.

use super::MessageService;
use super::change::restless;
use crate::api::MessagePage;
use crate::error::{Error, Result};
use crate::event::MessageStarred;
use crate::id::MessageId;
use crate::message::MessageView;
use crate::service::page_size;
use crate::session::Caller;
use crate::star::StarCursor;
use std::collections::HashMap;

impl MessageService {
    pub(super) async fn set_star(&self, caller: &Caller, id: MessageId, is_starred: bool) -> Result<MessageStarred> {
        for _ in 0..self.deps.limits.send_decisions {
            let reached = self.reach(caller, id).await?;
            if is_starred {
                reached.no_system()?;
            }
            let message = &reached.message;
            let done = |seq, rev| MessageStarred { message_id: id, chat_id: message.chat_id, seq, rev, user_id: caller.user_id, is_starred };
            // A tombstone has no star that could be taken back.
            if message.is_deleted() && !is_starred {
                return Ok(done(message.seq, message.rev));
            }
            if let Some(starred) = self.settled(&reached, self.deps.annotations.star(self.change(&reached, None), is_starred).await?)? {
                return Ok(done(starred.seq, starred.rev));
            }
        }
        Err(restless())
    }

    pub(super) async fn starred_page(&self, caller: &Caller, cursor: Option<&str>, limit: Option<i64>) -> Result<MessagePage> {
        let unknown = || Error::BadRequest("The cursor is not one of this list: take next_cursor of the page before, or none for the newest".to_owned());
        let after = match cursor {
            Some(text) => Some(StarCursor::decode(text, caller.user_id).ok_or_else(unknown)?),
            None => None,
        };
        let limit = page_size(limit, self.deps.limits.list_page_default, self.deps.limits.page);
        let mut starred = self.deps.annotations.starred(caller.user_id, self.deps.env.now(), after, limit + 1).await?;
        let has_more = starred.len() > limit;
        starred.truncate(limit);
        let last = starred.last().map(|last| StarCursor { starred_at: last.starred_at, message_id: last.message.id });
        let order: Vec<MessageId> = starred.iter().map(|starred| starred.message.id).collect();
        let views = self.views_of_many(caller.user_id, starred.into_iter().map(|starred| starred.message).collect()).await?;
        let mut views: HashMap<MessageId, MessageView> = views.into_iter().map(|view| (view.message_id, view)).collect();
        let messages = order.into_iter().filter_map(|id| views.remove(&id)).collect();
        Ok(MessagePage { messages, next_cursor: last.filter(|_| has_more).map(|last| last.encode(caller.user_id)), has_more })
    }
}
