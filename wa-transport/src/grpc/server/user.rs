//! UserService: profiles, privacy and presence.

use std::sync::Arc;

use tonic::{Request, async_trait};
use wa_core::error::{Error, Missing};
use wa_core::id::UserId;
use wa_core::service::LookupService;

use super::{Answer, answer};
use crate::grpc::convert::{from_time, id, ids, optional_id, to_time};
use crate::grpc::proto::user::user_service_server::UserService;
use crate::grpc::proto::user::{
    CheckPresenceRequest, CheckPresenceResponse, GetPrivacySettingsRequest, GetPrivacySettingsResponse, GetUserRequest, GetUserResponse, GetUsersRequest,
    GetUsersResponse, SetLastSeenRequest, SetLastSeenResponse,
};

pub(super) struct User {
    pub(super) lookup: Arc<LookupService>,
}

#[async_trait]
impl UserService for User {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Answer<GetUserResponse> {
        let GetUserRequest { user_id, requester_id } = request.into_inner();
        let found = async {
            let profiles = self.lookup.profiles(optional_id("requester_id", &requester_id)?, &[id("user_id", &user_id)?]).await?;
            profiles.into_iter().next().ok_or(Error::not_found(Missing::User))
        };
        answer(found.await.map(|profile| GetUserResponse { user: Some(profile.into()) }))
    }

    async fn get_users(&self, request: Request<GetUsersRequest>) -> Answer<GetUsersResponse> {
        let GetUsersRequest { user_ids, requester_id } = request.into_inner();
        let found = async {
            let asked: Vec<UserId> = ids("user_ids", &user_ids)?;
            self.lookup.profiles(optional_id("requester_id", &requester_id)?, &asked).await
        };
        answer(found.await.map(|profiles| GetUsersResponse { users: profiles.into_iter().map(Into::into).collect() }))
    }

    async fn check_presence(&self, request: Request<CheckPresenceRequest>) -> Answer<CheckPresenceResponse> {
        let found = async { self.lookup.presence(id("user_id", &request.into_inner().user_id)?).await };
        answer(found.await.map(|(online, last_seen)| CheckPresenceResponse { online, last_seen: last_seen.map(from_time) }))
    }

    async fn get_privacy_settings(&self, request: Request<GetPrivacySettingsRequest>) -> Answer<GetPrivacySettingsResponse> {
        let found = async { self.lookup.privacy(id("user_id", &request.into_inner().user_id)?).await };
        answer(found.await.map(|settings| GetPrivacySettingsResponse {
            last_seen: settings.last_seen.as_str().to_owned(),
            profile_photo: settings.profile_photo.as_str().to_owned(),
            about: settings.about.as_str().to_owned(),
            read_receipts: settings.read_receipts,
        }))
    }

    async fn set_last_seen(&self, request: Request<SetLastSeenRequest>) -> Answer<SetLastSeenResponse> {
        let SetLastSeenRequest { user_id, last_seen } = request.into_inner();
        let set = async {
            let at = match &last_seen {
                Some(time) => to_time("last_seen", time)?,
                None => self.lookup.now(),
            };
            self.lookup.set_last_seen(id("user_id", &user_id)?, at).await
        };
        answer(set.await.map(|()| SetLastSeenResponse {}))
    }
}
