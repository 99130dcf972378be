//! Sync: what a client missed, in bounded answers (contract, section 3.5). Each answer gets the client further: a listed
//! chat's `rev` is above the one it named, or the chat is new to it; so repeating with the returned revs comes to an end.

use std::collections::{BTreeSet, HashMap};

use super::MessageService;
use crate::api::{SyncAnswer, SyncChat, SyncRequest};
use crate::error::{Error, Missing, Result};
use crate::faults::planted;
use crate::id::{ChatId, UserId};
use crate::message::Rev;
use crate::ports::{Changed, ListedChat};
use crate::service::access::{Access, admit};
use crate::service::inbox::Detail;
use crate::service::page_size;
use crate::session::Caller;

/// A chat with changes that the client does not have.
struct Missed {
    access: Access,
    changed: Changed,
}

impl MessageService {
    pub(super) async fn missed(&self, caller: &Caller, request: SyncRequest) -> Result<SyncAnswer> {
        let limits = &self.deps.limits;
        if request.chats.len() > limits.sync_known_chats {
            return Err(Error::invalid("chats", format!("must have at most {} entries", limits.sync_known_chats)));
        }
        let mut budget = page_size(request.limit, limits.sync_messages_default, limits.sync_messages);
        let revs = self.deps.chats.revs(caller.user_id).await?;
        let present: BTreeSet<ChatId> = revs.iter().map(|(chat, _)| *chat).collect();
        let mut removed_chat_ids: Vec<ChatId> = request.chats.keys().copied().filter(|chat| !present.contains(chat)).collect();
        removed_chat_ids.sort_unstable();

        let behind = |(chat, rev): &(ChatId, Rev)| request.chats.get(chat).is_none_or(|known| rev > known);
        let candidates = self.newest_first(caller.user_id, revs.iter().filter(|entry| behind(entry)).map(|(chat, _)| *chat)).await?;
        let mut missed = Vec::new();
        // Whether everything that was missed is in the answer.
        let mut complete = true;
        for chat in candidates {
            if budget == 0 || missed.len() == limits.sync_chats {
                complete = false;
                break;
            }
            // Left since the revs were read: the next answer says so.
            let Ok(access) = admit(self.deps.chats.membership(chat).await?, caller.user_id, Missing::Chat) else {
                complete = false;
                continue;
            };
            let since = request.chats.get(&chat).copied().unwrap_or_default().max(Rev::ZERO);
            let changed = self.deps.messages.changed(&access.viewer(self.deps.env.now()), since, budget).await?;
            budget = budget.saturating_sub(changed.messages.len());
            missed.push(Missed { access, changed });
        }
        let listed = missed.len();
        let chats = self.items(caller.user_id, missed).await?;
        complete &= chats.len() == listed && chats.iter().all(|item| !item.limited);
        Ok(SyncAnswer { chats, removed_chat_ids, complete: complete || planted("sync_cut_short") })
    }

    /// These chats by their newest activity, so that what people look at first comes first.
    pub(super) async fn newest_first(&self, user: UserId, chats: impl Iterator<Item = ChatId>) -> Result<Vec<ChatId>> {
        let chats: Vec<ChatId> = chats.collect();
        let mut listed = Vec::with_capacity(chats.len());
        for some in chats.chunks(self.deps.limits.sync_chats.max(1)) {
            listed.extend(self.deps.chats.get(user, some).await?.into_iter().map(|ListedChat { chat, .. }| (chat.last_activity_at, chat.id)));
        }
        listed.sort_unstable_by(|a, b| b.cmp(a));
        Ok(listed.into_iter().map(|(_, chat)| chat).collect())
    }

    async fn items(&self, user: UserId, missed: Vec<Missed>) -> Result<Vec<SyncChat>> {
        if missed.is_empty() {
            return Ok(Vec::new());
        }
        let states = self.states(user, missed.iter().map(|missed| &*missed.access.membership)).await?;
        // Read after the changes: the chat is never older than what is told of it.
        let ids: Vec<ChatId> = missed.iter().map(|missed| missed.access.membership.chat_id).collect();
        let listed = self.deps.chats.get(user, &ids).await?;
        let mut views: HashMap<_, _> =
            self.inbox.views(user, listed, Detail::Whole, self.deps.env.now()).await?.into_iter().map(|view| (view.chat_id, view)).collect();
        let mut items = Vec::with_capacity(missed.len());
        for Missed { access, changed } in missed {
            let Some(chat) = views.remove(&access.membership.chat_id) else { continue };
            items.push(SyncChat {
                receipts: states.marks(&access.membership),
                messages: self.views_with(&access, &states, changed.messages).await?,
                hidden_message_ids: changed.hidden,
                stars: changed.stars,
                rev: changed.complete_to,
                // Also when something came in between: the client asks again and gets it.
                limited: changed.complete_to < chat.rev,
                chat,
            });
        }
        self.deps.attachments.enrich(items.iter_mut().flat_map(|item| &mut item.messages)).await;
        Ok(items)
    }
}
