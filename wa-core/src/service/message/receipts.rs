//! Receipts: given by recipients, and shown to those who may know of them (contract, sections 7 and 10).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::MessageService;
use crate::error::{Error, Missing, Result};
use crate::id::{ChatId, ConnectionId, MessageId, UserId};
use crate::ports::{EnvExt, Page};
use crate::privacy::may_see_reads;
use crate::receipt::{Located, NewReceipt, ReceiptTimes, ReceiptView, Receipted, Status};
use crate::service::access::{admit, enter, enter_by};
use crate::session::Caller;

impl MessageService {
    pub(super) async fn give_delivered(&self, caller: &Caller, messages: &[MessageId], origin: Option<ConnectionId>) -> Result<()> {
        let most = self.deps.limits.receipt_ids;
        if messages.len() > most {
            return Err(Error::invalid("message_ids", format!("must have at most {most} entries")));
        }
        let ids: Vec<MessageId> = messages.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut chats: BTreeMap<ChatId, Vec<Located>> = BTreeMap::new();
        for located in self.deps.messages.locate(&ids).await? {
            if located.sender_id != caller.user_id {
                chats.entry(located.chat_id).or_default().push(located);
            }
        }
        for (chat_id, mut delivered) in chats {
            let Ok(access) = admit(self.deps.chats.membership(chat_id).await?, caller.user_id, Missing::Chat) else { continue };
            delivered.retain(|message| access.reaches(message));
            delivered.sort_unstable_by_key(|message| message.seq);
            if !delivered.is_empty() {
                self.give(caller, chat_id, Receipted::Delivered(delivered), true, origin).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn give_read(&self, caller: &Caller, chat: Option<ChatId>, up_to: Option<MessageId>, origin: Option<ConnectionId>) -> Result<()> {
        let access = match chat {
            Some(chat) => Some(enter(&*self.deps.chats, chat, caller.user_id).await?),
            None => None,
        };
        let located = match (access, up_to) {
            (None, None) => return Err(Error::invalid("chat_id", "name the chat, or the message up to which you have read")),
            (Some(access), None) => {
                let newest = self.deps.messages.page(&access.viewer(self.deps.env.now()), Page::Newest, 1).await?;
                let Some(newest) = newest.first() else { return Ok(()) };
                newest.located()
            }
            (Some(access), Some(id)) => self.locate(id).await?.filter(|located| access.reaches(located)).ok_or(Error::not_found(Missing::Message))?,
            (None, Some(id)) => enter_by(&*self.deps.chats, self.locate(id).await?, caller.user_id).await?.1,
        };
        let settings = self.people().settings(&[caller.user_id]).await?;
        let announce = settings.get(&caller.user_id).is_some_and(|settings| settings.read_receipts);
        self.give(caller, located.chat_id, Receipted::ReadUpTo(located), announce, origin).await
    }

    pub(super) async fn give(&self, caller: &Caller, chat_id: ChatId, what: Receipted, announce: bool, origin: Option<ConnectionId>) -> Result<()> {
        let receipt = NewReceipt { chat_id, user_id: caller.user_id, what, announce, origin, at: self.deps.env.now() };
        self.deps.receipts.give(receipt, self.deps.env.new_id()).await?;
        Ok(())
    }

    /// One row for every recipient, also for one who never got it: a sender who was blocked sees `sent`, as with anybody
    /// whose phone is off.
    pub(super) async fn receipt_rows(&self, caller: &Caller, id: MessageId) -> Result<Vec<ReceiptView>> {
        let (access, located) = enter_by(&*self.deps.chats, self.locate(id).await?, caller.user_id).await?;
        let visible = self.deps.messages.get(&access.viewer(self.deps.env.now()), &[id]).await?;
        let message = visible.into_iter().next().ok_or(Error::not_found(Missing::Message))?;
        let times: HashMap<UserId, ReceiptTimes> =
            self.deps.receipts.times(located.chat_id, located.seq).await?.into_iter().map(|times| (times.user_id, times)).collect();
        let recipients: Vec<UserId> = access.membership.recipients(&located).map(|member| member.user_id).collect();
        let mut asked = recipients.clone();
        asked.push(caller.user_id);
        let settings = self.people().settings(&asked).await?;
        let row = |user_id: UserId| {
            let times = times.get(&user_id).filter(|_| located.withheld_from != Some(user_id));
            let reads = may_see_reads((user_id, settings.get(&user_id)), (caller.user_id, settings.get(&caller.user_id)));
            let read_at = times.and_then(|times| times.read_at).filter(|_| reads);
            // What was read was delivered.
            let delivered_at = times.and_then(|times| times.delivered_at.or(times.read_at));
            let status = match (read_at, delivered_at) {
                (Some(_), _) => Status::Read,
                (None, Some(_)) => Status::Delivered,
                (None, None) => Status::Sent,
            };
            let timestamp = read_at.or(delivered_at).unwrap_or(message.created_at);
            ReceiptView { user_id, status, timestamp, delivered_at, read_at, updated_at: timestamp }
        };
        Ok(recipients.into_iter().map(row).collect())
    }
}
