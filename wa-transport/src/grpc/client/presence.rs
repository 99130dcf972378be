//! Presence and typing, asked of the user role.

use async_trait::async_trait;
use tonic::Request;
use tonic::transport::Channel;
use wa_core::api::PresenceApi;
use wa_core::error::Result;
use wa_core::id::{ChatId, ConnectionId, UserId};
use wa_core::session::Caller;
use wa_core::user::PresenceView;

use super::{Method, Peer};
use crate::grpc::convert::{texts, to_presence};
use crate::grpc::proto::user::user_service_client::UserServiceClient;
use crate::grpc::proto::user::{GetPresenceRequest, NoteConnectionRequest, NoteDisconnectionRequest, SetTypingRequest};

const SERVICE: &str = "user.v1.UserService";

/// Asks the user role.
#[derive(Debug, Clone)]
pub struct GrpcPresenceClient(Peer);

impl GrpcPresenceClient {
    /// Asks this peer.
    #[must_use]
    pub const fn new(peer: Peer) -> Self {
        Self(peer)
    }
}

#[async_trait]
impl PresenceApi for GrpcPresenceClient {
    async fn connected(&self, caller: &Caller, connection: ConnectionId) -> Result<()> {
        let request =
            NoteConnectionRequest { user_id: caller.user_id.to_string(), device_id: caller.device_id.to_string(), connection_id: connection.to_string() };
        let send = |channel: Channel, request: Request<NoteConnectionRequest>| async move { UserServiceClient::new(channel).note_connection(request).await };
        self.0.call(const { Method::read(SERVICE, "NoteConnection") }, request, send).await.map(|_| ())
    }

    async fn disconnected(&self, caller: &Caller, connection: ConnectionId) -> Result<()> {
        let request =
            NoteDisconnectionRequest { user_id: caller.user_id.to_string(), device_id: caller.device_id.to_string(), connection_id: connection.to_string() };
        let send =
            |channel: Channel, request: Request<NoteDisconnectionRequest>| async move { UserServiceClient::new(channel).note_disconnection(request).await };
        self.0.call(const { Method::read(SERVICE, "NoteDisconnection") }, request, send).await.map(|_| ())
    }

    async fn see(&self, caller: &Caller, users: &[UserId]) -> Result<Vec<PresenceView>> {
        let request = GetPresenceRequest { user_ids: texts(users.iter().copied()), requester_id: caller.user_id.to_string() };
        let send = |channel: Channel, request: Request<GetPresenceRequest>| async move { UserServiceClient::new(channel).get_presence(request).await };
        let answer = self.0.call(const { Method::read(SERVICE, "GetPresence") }, request, send).await?;
        answer.presence.iter().map(to_presence).collect()
    }

    async fn typing(&self, caller: &Caller, chat: ChatId, is_typing: bool) -> Result<()> {
        let request = SetTypingRequest { user_id: caller.user_id.to_string(), device_id: caller.device_id.to_string(), chat_id: chat.to_string(), is_typing };
        let send = |channel: Channel, request: Request<SetTypingRequest>| async move { UserServiceClient::new(channel).set_typing(request).await };
        self.0.call(const { Method::read(SERVICE, "SetTyping") }, request, send).await.map(|_| ())
    }

    /// The role that keeps the notices ends them.
    async fn expire_typing(&self) -> Result<()> {
        Ok(())
    }
}
