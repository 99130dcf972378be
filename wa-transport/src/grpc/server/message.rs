//! MessageService: the log of every chat, receipts and sync, and who gets an event.

use std::sync::Arc;

use serde_json::{Value, json};
use tonic::{Request, async_trait};
use wa_core::api::{FanOutApi, ForwardMessage, HistoryQuery, MessageApi, SearchRequest, SendMessage, SyncRequest};
use wa_core::error::{Error, Missing, Result};
use wa_core::event::Event;
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::message::Rev;
use wa_core::service::LookupService;
use wa_core::session::Caller;

use super::{Answer, answer};
use crate::grpc::convert::{caller, caller_of, from_json, from_time, id, ids, optional_id, payload, texts, to_json};
use crate::grpc::proto::message as pb;
use crate::grpc::proto::message::message_service_server::MessageService;

pub(super) struct Message {
    pub(super) lookup: Arc<LookupService>,
    pub(super) messages: Arc<dyn MessageApi>,
    pub(super) fan_out: Arc<dyn FanOutApi>,
}

impl Message {
    async fn send(&self, request: pb::SendMessageRequest) -> Result<pb::SendMessageResponse> {
        let caller = caller_of_sender(&request)?;
        let chat_id: ChatId = id("chat_id", &request.chat_id)?;
        if let Some(source) = &request.forwarded_from {
            return self.forward(&caller, chat_id, source, &request.client_msg_id).await;
        }
        let payload: Value = match &request.payload {
            _ if !request.payload_json.is_empty() => from_json("payload_json", &request.payload_json)?,
            Some(given) => payload(given),
            None => json!({}),
        };
        let message = SendMessage {
            chat_id,
            client_msg_id: request.client_msg_id,
            kind: request.r#type,
            payload,
            reply_to_message_id: optional_id("reply_to_message_id", &request.reply_to_message_id)?,
            origin: optional_id("connection_id", &request.connection_id)?,
        };
        let sent = self.messages.send(&caller, message).await?;
        Ok(pb::SendMessageResponse {
            message_id: sent.message.message_id.to_string(),
            created_at: Some(from_time(sent.message.created_at)),
            seq: sent.message.seq.get(),
            duplicate: sent.duplicate,
            message_json: to_json(&sent.message)?,
        })
    }

    /// Sends a message on. Whoever repeats it under the same key gets the one that was made first.
    async fn forward(&self, caller: &Caller, chat_id: ChatId, source: &pb::ForwardedFrom, key: &str) -> Result<pb::SendMessageResponse> {
        if key.is_empty() {
            return Err(Error::invalid("client_msg_id", "is missing"));
        }
        let message_id: MessageId = id("forwarded_from.message_id", &source.message_id)?;
        let source_chat: ChatId = id("forwarded_from.chat_id", &source.chat_id)?;
        if self.lookup.locate(caller.user_id, message_id).await?.chat_id != source_chat {
            return Err(Error::not_found(Missing::Message));
        }
        let started = self.lookup.now();
        let forward = ForwardMessage { message_id, target_chat_ids: vec![chat_id], key: Some(key.to_owned()) };
        let made = self.messages.forward(caller, forward).await?.into_iter().next().ok_or(Error::not_found(Missing::Message))?;
        let message = self.lookup.sent(caller.user_id, chat_id, made.message_id).await?;
        Ok(pb::SendMessageResponse {
            message_id: message.id.to_string(),
            created_at: Some(from_time(message.created_at)),
            seq: message.seq.get(),
            duplicate: message.created_at < started,
            message_json: Default::default(),
        })
    }
}

fn caller_of_sender(request: &pb::SendMessageRequest) -> Result<Caller> {
    id::<UserId>("sender_id", &request.sender_id)?;
    caller_of(&request.sender_id, &request.device_id)
}

#[async_trait]
impl MessageService for Message {
    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Answer<pb::SendMessageResponse> {
        answer(self.send(request.into_inner()).await)
    }

    async fn update_message_status(&self, request: Request<pb::UpdateMessageStatusRequest>) -> Answer<pb::UpdateMessageStatusResponse> {
        let pb::UpdateMessageStatusRequest { message_id, user_id, status } = request.into_inner();
        let updated = async {
            let (caller, message) = (caller_of(&user_id, "")?, id("message_id", &message_id)?);
            if !matches!(status.as_str(), "sent" | "delivered" | "read") {
                return Err(Error::invalid("status", "must be one of sent, delivered, read"));
            }
            self.lookup.locate(caller.user_id, message).await?;
            match status.as_str() {
                "delivered" => self.messages.mark_delivered(&caller, &[message], None).await,
                "read" => self.messages.mark_read(&caller, None, Some(message), None).await,
                // Every message is: receipts only rise.
                _ => Ok(()),
            }
        };
        answer(updated.await.map(|()| pb::UpdateMessageStatusResponse { success: true }))
    }

    async fn get_last_messages(&self, request: Request<pb::GetLastMessagesRequest>) -> Answer<pb::GetLastMessagesResponse> {
        let found = async {
            let chats: Vec<ChatId> = ids("chat_ids", &request.into_inner().chat_ids)?;
            self.lookup.last_messages(&chats).await
        };
        answer(found.await.map(|last| pb::GetLastMessagesResponse { messages: last.into_iter().map(|(chat, last)| (chat.to_string(), last.into())).collect() }))
    }

    async fn get_unread_counts(&self, request: Request<pb::GetUnreadCountsRequest>) -> Answer<pb::GetUnreadCountsResponse> {
        let pb::GetUnreadCountsRequest { user_id, chat_ids } = request.into_inner();
        let found = async {
            let chats: Vec<ChatId> = ids("chat_ids", &chat_ids)?;
            self.lookup.unread(id("user_id", &user_id)?, &chats).await
        };
        let count = |unread: u64| i64::try_from(unread).unwrap_or(i64::MAX);
        answer(
            found
                .await
                .map(|counts| pb::GetUnreadCountsResponse { counts: counts.into_iter().map(|(chat, unread)| (chat.to_string(), count(unread))).collect() }),
        )
    }

    async fn mark_delivered(&self, request: Request<pb::MarkDeliveredRequest>) -> Answer<pb::MarkDeliveredResponse> {
        let request = request.into_inner();
        let marked = async {
            let messages: Vec<MessageId> = ids("message_ids", &request.message_ids)?;
            self.messages.mark_delivered(&caller(request.caller.as_ref())?, &messages, optional_id("connection_id", &request.connection_id)?).await
        };
        answer(marked.await.map(|()| pb::MarkDeliveredResponse {}))
    }

    async fn mark_read(&self, request: Request<pb::MarkReadRequest>) -> Answer<pb::MarkReadResponse> {
        let request = request.into_inner();
        let marked = async {
            let (chat, up_to) = (optional_id("chat_id", &request.chat_id)?, optional_id("up_to_message_id", &request.up_to_message_id)?);
            self.messages.mark_read(&caller(request.caller.as_ref())?, chat, up_to, optional_id("connection_id", &request.connection_id)?).await
        };
        answer(marked.await.map(|()| pb::MarkReadResponse {}))
    }

    async fn delete_message(&self, request: Request<pb::DeleteMessageRequest>) -> Answer<pb::DeleteMessageResponse> {
        let request = request.into_inner();
        let deleted = async {
            let (caller, message) = (caller(request.caller.as_ref())?, id("message_id", &request.message_id)?);
            let origin = optional_id("connection_id", &request.connection_id)?;
            let deleted = match request.for_everyone {
                true => self.messages.delete_for_everyone(&caller, message, origin).await?,
                false => self.messages.delete_for_me(&caller, message, origin).await?,
            };
            to_json(&deleted)
        };
        answer(deleted.await.map(|deleted_json| pb::DeleteMessageResponse { deleted_json }))
    }

    async fn edit_message(&self, request: Request<pb::EditMessageRequest>) -> Answer<pb::EditMessageResponse> {
        let request = request.into_inner();
        let edited = async {
            let payload: Value = from_json("payload_json", &request.payload_json)?;
            let (caller, message) = (caller(request.caller.as_ref())?, id("message_id", &request.message_id)?);
            to_json(&self.messages.edit(&caller, message, &payload, optional_id("connection_id", &request.connection_id)?).await?)
        };
        answer(edited.await.map(|message_json| pb::EditMessageResponse { message_json }))
    }

    async fn react(&self, request: Request<pb::ReactRequest>) -> Answer<pb::ReactResponse> {
        let request = request.into_inner();
        let reacted = async {
            let (caller, message) = (caller(request.caller.as_ref())?, id("message_id", &request.message_id)?);
            to_json(&self.messages.react(&caller, message, request.emoji, optional_id("connection_id", &request.connection_id)?).await?)
        };
        answer(reacted.await.map(|reaction_json| pb::ReactResponse { reaction_json }))
    }

    async fn forward_message(&self, request: Request<pb::ForwardMessageRequest>) -> Answer<pb::ForwardMessageResponse> {
        let request = request.into_inner();
        let forwarded = async {
            let forward = ForwardMessage {
                message_id: id("message_id", &request.message_id)?,
                target_chat_ids: ids("target_chat_ids", &request.target_chat_ids)?,
                key: request.key,
            };
            self.messages.forward(&caller(request.caller.as_ref())?, forward).await
        };
        let pair = |made: wa_core::api::ForwardedMessage| pb::ForwardedMessage { chat_id: made.chat_id.to_string(), message_id: made.message_id.to_string() };
        answer(forwarded.await.map(|made| pb::ForwardMessageResponse { forwarded_messages: made.into_iter().map(pair).collect() }))
    }

    async fn star_message(&self, request: Request<pb::StarMessageRequest>) -> Answer<pb::StarMessageResponse> {
        let request = request.into_inner();
        let starred =
            async { to_json(&self.messages.star(&caller(request.caller.as_ref())?, id("message_id", &request.message_id)?, request.is_starred).await?) };
        answer(starred.await.map(|starred_json| pb::StarMessageResponse { starred_json }))
    }

    async fn list_starred(&self, request: Request<pb::ListStarredRequest>) -> Answer<pb::ListStarredResponse> {
        let request = request.into_inner();
        let page = async { to_json(&self.messages.starred(&caller(request.caller.as_ref())?, request.cursor, request.limit).await?) };
        answer(page.await.map(|page_json| pb::ListStarredResponse { page_json }))
    }

    async fn get_history(&self, request: Request<pb::GetHistoryRequest>) -> Answer<pb::GetHistoryResponse> {
        let request = request.into_inner();
        let page = async {
            let query = HistoryQuery { cursor: optional_id("cursor", &request.cursor)?, after_seq: request.after_seq, limit: request.limit };
            to_json(&self.messages.history(&caller(request.caller.as_ref())?, id("chat_id", &request.chat_id)?, query).await?)
        };
        answer(page.await.map(|page_json| pb::GetHistoryResponse { page_json }))
    }

    async fn get_receipts(&self, request: Request<pb::GetReceiptsRequest>) -> Answer<pb::GetReceiptsResponse> {
        let request = request.into_inner();
        let receipts = async { to_json(&self.messages.receipts(&caller(request.caller.as_ref())?, id("message_id", &request.message_id)?).await?) };
        answer(receipts.await.map(|receipts_json| pb::GetReceiptsResponse { receipts_json }))
    }

    async fn search_messages(&self, request: Request<pb::SearchMessagesRequest>) -> Answer<pb::SearchMessagesResponse> {
        let request = request.into_inner();
        let page = async {
            let search = SearchRequest { chat: optional_id("chat_id", &request.chat_id)?, query: request.query, cursor: request.cursor, limit: request.limit };
            to_json(&self.messages.search(&caller(request.caller.as_ref())?, search).await?)
        };
        answer(page.await.map(|page_json| pb::SearchMessagesResponse { page_json }))
    }

    async fn sync(&self, request: Request<pb::SyncRequest>) -> Answer<pb::SyncResponse> {
        let request = request.into_inner();
        let missed = async {
            let chats = request.chats.iter().map(|(chat, rev)| Ok((id("chats", chat)?, Rev::new(*rev)))).collect::<Result<_>>()?;
            to_json(&self.messages.sync(&caller(request.caller.as_ref())?, SyncRequest { chats, limit: request.limit }).await?)
        };
        answer(missed.await.map(|sync_json| pb::SyncResponse { sync_json }))
    }

    async fn get_pending(&self, request: Request<pb::GetPendingRequest>) -> Answer<pb::GetPendingResponse> {
        let pending = async {
            let pending = self.messages.pending(&caller(request.into_inner().caller.as_ref())?).await?;
            Ok(pb::GetPendingResponse { messages_json: pending.messages.iter().map(to_json).collect::<Result<_>>()?, more_in: texts(pending.more_in) })
        };
        answer(pending.await)
    }

    async fn get_recipients(&self, request: Request<pb::GetRecipientsRequest>) -> Answer<pb::GetRecipientsResponse> {
        let request = request.into_inner();
        let recipients = async {
            let event: Event = from_json("event_json", &request.event_json)?;
            let watchers = all_ids("watcher_ids", &request.watcher_ids)?;
            self.fan_out.recipients(&event, &watchers).await
        };
        answer(recipients.await.map(|users| pb::GetRecipientsResponse { user_ids: texts(users) }))
    }

    async fn get_shares(&self, request: Request<pb::GetSharesRequest>) -> Answer<pb::GetSharesResponse> {
        let request = request.into_inner();
        let shares = async {
            let event: Event = from_json("event_json", &request.event_json)?;
            let recipients = all_ids("recipient_ids", &request.recipient_ids)?;
            let shares = self.fan_out.shares(&event, &recipients).await?;
            let share = |share: &wa_core::api::Share| Ok(pb::Share { message_json: to_json(&*share.message)?, user_ids: texts(share.users.iter().copied()) });
            shares.iter().map(share).collect::<Result<_>>()
        };
        answer(shares.await.map(|shares| pb::GetSharesResponse { shares }))
    }
}

/// Users of an event: as many as a group may hold and a node may serve, which the size of a request bounds.
fn all_ids(field: &str, texts: &[String]) -> Result<Vec<UserId>> {
    texts.iter().map(|text| id(field, text)).collect()
}
