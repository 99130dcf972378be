//! Tokens and sessions, asked of the auth role.

use async_trait::async_trait;
use tonic::Request;
use tonic::transport::Channel;
use wa_core::api::Authenticator;
use wa_core::error::{Error, Result, Unauthenticated};
use wa_core::session::Caller;

use super::{Method, Peer};
use crate::grpc::convert::id;
use crate::grpc::proto::auth::auth_service_client::AuthServiceClient;
use crate::grpc::proto::auth::{ConfirmSessionRequest, ValidateTokenRequest};

const SERVICE: &str = "auth.v1.AuthService";

/// Asks the auth role. It keeps nothing: a session that was ended counts as ended from the next request on.
#[derive(Debug, Clone)]
pub struct GrpcAuthClient(Peer);

impl GrpcAuthClient {
    /// Asks this peer.
    #[must_use]
    pub const fn new(peer: Peer) -> Self {
        Self(peer)
    }
}

/// Longer texts are no token of ours and are not sent.
const LONGEST_TOKEN: usize = 4096;

#[async_trait]
impl Authenticator for GrpcAuthClient {
    async fn authenticate(&self, token: &str) -> Result<Caller> {
        const INVALID: Error = Error::Unauthenticated(Unauthenticated::Invalid);
        if token.len() > LONGEST_TOKEN {
            return Err(INVALID);
        }
        let method = const { Method::read(SERVICE, "ValidateToken").long() };
        let send = |channel: Channel, request: Request<ValidateTokenRequest>| async move { AuthServiceClient::new(channel).validate_token(request).await };
        let answer = self.0.call(method, ValidateTokenRequest { token: token.to_owned() }, send).await?;
        if !answer.valid {
            return Err(if answer.code == "TOKEN_EXPIRED" { Error::Unauthenticated(Unauthenticated::Expired) } else { INVALID });
        }
        let foreign = |_| Error::internal("the auth role named no user of ours");
        Ok(Caller { user_id: id("user_id", &answer.user_id).map_err(foreign)?, device_id: id("device_id", &answer.device_id).map_err(foreign)? })
    }

    async fn confirm(&self, caller: &Caller) -> Result<()> {
        let request = ConfirmSessionRequest { user_id: caller.user_id.to_string(), device_id: caller.device_id.to_string() };
        let send = |channel: Channel, request: Request<ConfirmSessionRequest>| async move { AuthServiceClient::new(channel).confirm_session(request).await };
        self.0.call(const { Method::read(SERVICE, "ConfirmSession") }, request, send).await.map(|_| ())
    }
}
