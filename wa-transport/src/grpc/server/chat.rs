//! ChatService: who is in a chat, and what they may do.

use std::sync::Arc;

use tonic::{Request, async_trait};
use wa_core::chat::Role;
use wa_core::error::Error;
use wa_core::id::UserId;
use wa_core::service::LookupService;

use super::{Answer, answer};
use crate::grpc::convert::{id, texts};
use crate::grpc::proto::chat::chat_service_server::ChatService;
use crate::grpc::proto::chat::{
    CheckChatPermissionRequest, CheckChatPermissionResponse, GetChatParticipantsRequest, GetChatParticipantsResponse, IsMemberRequest, IsMemberResponse,
    ListChatIdsRequest, ListChatIdsResponse,
};

pub(super) struct Chat {
    pub(super) lookup: Arc<LookupService>,
}

#[async_trait]
impl ChatService for Chat {
    async fn get_chat_participants(&self, request: Request<GetChatParticipantsRequest>) -> Answer<GetChatParticipantsResponse> {
        let found = async { self.lookup.membership(id("chat_id", &request.into_inner().chat_id)?).await };
        answer(found.await.map(|membership| GetChatParticipantsResponse { user_ids: texts(membership.everyone().map(|member| member.user_id)) }))
    }

    async fn is_member(&self, request: Request<IsMemberRequest>) -> Answer<IsMemberResponse> {
        let IsMemberRequest { chat_id, user_id } = request.into_inner();
        let found = async {
            let user: UserId = id("user_id", &user_id)?;
            match self.lookup.membership(id("chat_id", &chat_id)?).await {
                Ok(membership) => Ok(membership.present(user).is_some()),
                // Of a chat that does not exist nobody is a member.
                Err(Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        answer(found.await.map(|is_member| IsMemberResponse { is_member }))
    }

    async fn check_chat_permission(&self, request: Request<CheckChatPermissionRequest>) -> Answer<CheckChatPermissionResponse> {
        let CheckChatPermissionRequest { chat_id, user_id } = request.into_inner();
        let found = async {
            let user: UserId = id("user_id", &user_id)?;
            let membership = self.lookup.membership(id("chat_id", &chat_id)?).await?;
            let member = membership.present(user);
            Ok(CheckChatPermissionResponse {
                is_member: member.is_some(),
                is_admin: member.is_some_and(|member| member.role == Role::Admin),
                is_admin_only: membership.is_admin_only,
                chat_type: membership.kind.as_str().to_owned(),
            })
        };
        answer(found.await)
    }

    async fn list_chat_ids(&self, request: Request<ListChatIdsRequest>) -> Answer<ListChatIdsResponse> {
        let found = async { self.lookup.chat_ids(id("user_id", &request.into_inner().user_id)?).await };
        answer(found.await.map(|chats| ListChatIdsResponse { chat_ids: texts(chats) }))
    }
}
