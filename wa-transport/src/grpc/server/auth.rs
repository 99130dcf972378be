//! AuthService: whose a token is, and whether a session stands.

use std::sync::Arc;

use tonic::{Request, async_trait};
use wa_core::api::Authenticator;
use wa_core::error::{Error, Unauthenticated};
use wa_core::service::token;

use super::{Answer, answer};
use crate::grpc::convert::{caller_of, id};
use crate::grpc::proto::auth::auth_service_server::AuthService;
use crate::grpc::proto::auth::{ConfirmSessionRequest, ConfirmSessionResponse, ValidateTokenRequest, ValidateTokenResponse};

pub(super) struct Auth {
    pub(super) authenticator: Arc<dyn Authenticator>,
}

#[async_trait]
impl AuthService for Auth {
    async fn validate_token(&self, request: Request<ValidateTokenRequest>) -> Answer<ValidateTokenResponse> {
        let token = request.into_inner().token;
        let told = self.authenticator.authenticate(&token).await;
        answer(match told {
            Ok(caller) => {
                let device_id = caller.device_id.to_string();
                Ok(ValidateTokenResponse {
                    valid: true,
                    user_id: caller.user_id.to_string(),
                    phone: token::phone_in(&token).unwrap_or_default(),
                    session_id: device_id.clone(),
                    device_id,
                    code: String::new(),
                })
            }
            Err(error @ Error::Unauthenticated(Unauthenticated::Expired | Unauthenticated::Invalid)) => {
                Ok(ValidateTokenResponse { code: error.code().to_owned(), ..ValidateTokenResponse::default() })
            }
            Err(error) => Err(error),
        })
    }

    async fn confirm_session(&self, request: Request<ConfirmSessionRequest>) -> Answer<ConfirmSessionResponse> {
        let ConfirmSessionRequest { user_id, device_id } = request.into_inner();
        let confirmed = async {
            id::<wa_core::id::DeviceId>("device_id", &device_id)?;
            self.authenticator.confirm(&caller_of(&user_id, &device_id)?).await
        };
        answer(confirmed.await.map(|()| ConfirmSessionResponse {}))
    }
}
