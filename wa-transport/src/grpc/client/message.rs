//! Messages and fan-out, asked of the message role.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tonic::Request;
use tonic::transport::Channel;
use wa_core::api::{
    FanOutApi, ForwardMessage, ForwardedMessage, HistoryQuery, MessageApi, MessagePage, Pending, SearchPage, SearchRequest, SendMessage, Sent, Share,
    SyncAnswer, SyncRequest,
};
use wa_core::error::Result;
use wa_core::event::{Event, MessageDeleted, MessageReaction, MessageStarred};
use wa_core::id::{ChatId, ConnectionId, MessageId, UserId};
use wa_core::message::MessageView;
use wa_core::receipt::ReceiptView;
use wa_core::session::Caller;

use super::{Method, Peer, read};
use crate::grpc::convert::{from_caller, from_origin, id, texts, to_json};
use crate::grpc::proto::message as pb;
use crate::grpc::proto::message::message_service_client::MessageServiceClient;
use crate::grpc::{LARGEST_ANSWER, LARGEST_REQUEST};

const SERVICE: &str = "message.v1.MessageService";

fn client(channel: Channel) -> MessageServiceClient<Channel> {
    MessageServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER).max_encoding_message_size(LARGEST_REQUEST)
}

/// Who sends where, and whose turn it is. What is sent over one connection may be answered in any order, and two messages of
/// one sender must not change places: so each waits for the one before.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<(UserId, ChatId), Turn>>);

/// Held by whose turn it is; it is handed out in the order in which it was asked for.
type Turn = Arc<tokio::sync::Mutex<()>>;

impl Turns {
    /// Does something when it is this sender's turn: in the order in which it was first polled.
    async fn take<T>(&self, sender: UserId, chat: ChatId, what: impl Future<Output = T>) -> T {
        let key = (sender, chat);
        let turn = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let _left = Left { turns: self, key };
        let _mine = turn.lock().await;
        what.await
    }
}

/// Forgets a queue in which nobody waits any more.
struct Left<'a> {
    turns: &'a Turns,
    key: (UserId, ChatId),
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One is the map's, one is still held by whoever leaves.
        if turns.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
            turns.remove(&self.key);
        }
    }
}

/// Asks the message role.
#[derive(Debug, Clone)]
pub struct GrpcMessageClient {
    peer: Peer,
    turns: Arc<Turns>,
}

impl GrpcMessageClient {
    /// Asks this peer.
    #[must_use]
    pub fn new(peer: Peer) -> Self {
        Self { peer, turns: Arc::default() }
    }
}

/// Calls a method of the service with a request, and hands out the answer.
macro_rules! call {
    ($self:ident, $method:expr, $function:ident, $request:expr) => {{
        let send = |channel: Channel, request: Request<_>| async move { client(channel).$function(request).await };
        $self.peer.call($method, $request, send).await
    }};
}

#[async_trait]
impl MessageApi for GrpcMessageClient {
    async fn send(&self, caller: &Caller, message: SendMessage) -> Result<Sent> {
        let request = pb::SendMessageRequest {
            chat_id: message.chat_id.to_string(),
            sender_id: caller.user_id.to_string(),
            r#type: message.kind,
            payload: None,
            client_msg_id: message.client_msg_id,
            reply_to_message_id: message.reply_to_message_id.map_or_else(String::new, |id| id.to_string()),
            forwarded_from: None,
            payload_json: to_json(&message.payload)?,
            device_id: caller.device_id.to_string(),
            connection_id: from_origin(message.origin),
        };
        // Idempotent by its key.
        let method = const { Method::read(SERVICE, "SendMessage").long() };
        let sent = async { call!(self, method, send_message, request) };
        let answer = self.turns.take(caller.user_id, message.chat_id, sent).await?;
        Ok(Sent { message: read(&answer.message_json)?, duplicate: answer.duplicate })
    }

    async fn history(&self, caller: &Caller, chat: ChatId, query: HistoryQuery) -> Result<MessagePage> {
        let request = pb::GetHistoryRequest {
            caller: Some(from_caller(caller)),
            chat_id: chat.to_string(),
            cursor: query.cursor.map_or_else(String::new, |id| id.to_string()),
            after_seq: query.after_seq,
            limit: query.limit,
        };
        read(&call!(self, const { Method::read(SERVICE, "GetHistory") }, get_history, request)?.page_json)
    }

    async fn mark_delivered(&self, caller: &Caller, messages: &[MessageId], origin: Option<ConnectionId>) -> Result<()> {
        let request =
            pb::MarkDeliveredRequest { caller: Some(from_caller(caller)), message_ids: texts(messages.iter().copied()), connection_id: from_origin(origin) };
        call!(self, const { Method::read(SERVICE, "MarkDelivered") }, mark_delivered, request).map(|_| ())
    }

    async fn mark_read(&self, caller: &Caller, chat: Option<ChatId>, up_to: Option<MessageId>, origin: Option<ConnectionId>) -> Result<()> {
        let request = pb::MarkReadRequest {
            caller: Some(from_caller(caller)),
            chat_id: chat.map_or_else(String::new, |id| id.to_string()),
            up_to_message_id: up_to.map_or_else(String::new, |id| id.to_string()),
            connection_id: from_origin(origin),
        };
        call!(self, const { Method::read(SERVICE, "MarkRead") }, mark_read, request).map(|_| ())
    }

    async fn receipts(&self, caller: &Caller, message: MessageId) -> Result<Vec<ReceiptView>> {
        let request = pb::GetReceiptsRequest { caller: Some(from_caller(caller)), message_id: message.to_string() };
        read(&call!(self, const { Method::read(SERVICE, "GetReceipts") }, get_receipts, request)?.receipts_json)
    }

    async fn delete_for_me(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        self.delete(caller, message, false, origin).await
    }

    async fn delete_for_everyone(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        self.delete(caller, message, true, origin).await
    }

    async fn edit(&self, caller: &Caller, message: MessageId, payload: &Value, origin: Option<ConnectionId>) -> Result<MessageView> {
        let request = pb::EditMessageRequest {
            caller: Some(from_caller(caller)),
            message_id: message.to_string(),
            payload_json: to_json(payload)?,
            connection_id: from_origin(origin),
        };
        read(&call!(self, const { Method::once(SERVICE, "EditMessage") }, edit_message, request)?.message_json)
    }

    async fn forward(&self, caller: &Caller, forward: ForwardMessage) -> Result<Vec<ForwardedMessage>> {
        let method = if forward.key.is_some() { Method::read(SERVICE, "ForwardMessage") } else { Method::once(SERVICE, "ForwardMessage") };
        let request = pb::ForwardMessageRequest {
            caller: Some(from_caller(caller)),
            message_id: forward.message_id.to_string(),
            target_chat_ids: texts(forward.target_chat_ids),
            key: forward.key,
        };
        let made = call!(self, method, forward_message, request)?.forwarded_messages;
        made.iter().map(|made| Ok(ForwardedMessage { chat_id: id("chat_id", &made.chat_id)?, message_id: id("message_id", &made.message_id)? })).collect()
    }

    async fn react(&self, caller: &Caller, message: MessageId, emoji: Option<String>, origin: Option<ConnectionId>) -> Result<MessageReaction> {
        let request = pb::ReactRequest { caller: Some(from_caller(caller)), message_id: message.to_string(), emoji, connection_id: from_origin(origin) };
        read(&call!(self, const { Method::once(SERVICE, "React") }, react, request)?.reaction_json)
    }

    async fn star(&self, caller: &Caller, message: MessageId, is_starred: bool) -> Result<MessageStarred> {
        let request = pb::StarMessageRequest { caller: Some(from_caller(caller)), message_id: message.to_string(), is_starred };
        read(&call!(self, const { Method::read(SERVICE, "StarMessage") }, star_message, request)?.starred_json)
    }

    async fn starred(&self, caller: &Caller, cursor: Option<String>, limit: Option<i64>) -> Result<MessagePage> {
        let request = pb::ListStarredRequest { caller: Some(from_caller(caller)), cursor, limit };
        read(&call!(self, const { Method::read(SERVICE, "ListStarred") }, list_starred, request)?.page_json)
    }

    /// The role that keeps the messages deletes them.
    async fn expire(&self) -> Result<bool> {
        Ok(false)
    }

    async fn search(&self, caller: &Caller, request: SearchRequest) -> Result<SearchPage> {
        let request = pb::SearchMessagesRequest {
            caller: Some(from_caller(caller)),
            chat_id: request.chat.map_or_else(String::new, |id| id.to_string()),
            query: request.query,
            cursor: request.cursor,
            limit: request.limit,
        };
        read(&call!(self, const { Method::read(SERVICE, "SearchMessages") }, search_messages, request)?.page_json)
    }

    async fn sync(&self, caller: &Caller, request: SyncRequest) -> Result<SyncAnswer> {
        let chats = request.chats.into_iter().map(|(chat, rev)| (chat.to_string(), rev.get())).collect();
        let request = pb::SyncRequest { caller: Some(from_caller(caller)), chats, limit: request.limit };
        read(&call!(self, const { Method::read(SERVICE, "Sync") }, sync, request)?.sync_json)
    }

    async fn pending(&self, caller: &Caller) -> Result<Pending> {
        let answer = call!(self, const { Method::read(SERVICE, "GetPending") }, get_pending, pb::GetPendingRequest { caller: Some(from_caller(caller)) })?;
        Ok(Pending {
            messages: answer.messages_json.iter().map(|json| read(json)).collect::<Result<_>>()?,
            more_in: answer.more_in.iter().map(|chat| id("more_in", chat)).collect::<Result<_>>()?,
        })
    }
}

impl GrpcMessageClient {
    async fn delete(&self, caller: &Caller, message: MessageId, for_everyone: bool, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        let request =
            pb::DeleteMessageRequest { caller: Some(from_caller(caller)), message_id: message.to_string(), for_everyone, connection_id: from_origin(origin) };
        read(&call!(self, const { Method::read(SERVICE, "DeleteMessage") }, delete_message, request)?.deleted_json)
    }
}

#[async_trait]
impl FanOutApi for GrpcMessageClient {
    async fn recipients(&self, event: &Event, watchers: &[UserId]) -> Result<Vec<UserId>> {
        let request = pb::GetRecipientsRequest { event_json: to_json(event)?, watcher_ids: texts(watchers.iter().copied()) };
        let users = call!(self, const { Method::read(SERVICE, "GetRecipients") }, get_recipients, request)?.user_ids;
        users.iter().map(|user| id("user_ids", user)).collect()
    }

    async fn shares(&self, event: &Event, recipients: &[UserId]) -> Result<Vec<Share>> {
        let request = pb::GetSharesRequest { event_json: to_json(event)?, recipient_ids: texts(recipients.iter().copied()) };
        let shares = call!(self, const { Method::read(SERVICE, "GetShares") }, get_shares, request)?.shares;
        let share = |share: pb::Share| {
            let users = share.user_ids.iter().map(|user| id("user_ids", user)).collect::<Result<_>>()?;
            Ok(Share { message: Arc::new(read(&share.message_json)?), users })
        };
        shares.into_iter().map(share).collect()
    }
}
