//! The roles that run elsewhere, as this process calls them.

use std::sync::Arc;

use wa_core::api::Authenticator;
use wa_core::ports::Env;
use wa_transport::Backend;
use wa_transport::metrics::Metrics;

use crate::config::Config;
use crate::start::StartError;

#[cfg(feature = "cluster")]
mod remote {
    use std::collections::{BTreeMap, BTreeSet};

    use url::Url;
    use wa_transport::grpc::{GrpcAuthClient, GrpcMessageClient, Peer};

    use super::*;
    use crate::role::Role;

    /// What is called of other roles.
    #[derive(Default)]
    pub(crate) struct Peers {
        auth: Option<GrpcAuthClient>,
        message: Option<GrpcMessageClient>,
    }

    impl Peers {
        /// # Errors
        /// [`StartError::Peer`] if an address cannot be used.
        pub(crate) fn of(config: &Config, env: &Arc<dyn Env>, metrics: &Metrics) -> Result<Self, StartError> {
            let asked = config.server.roles.asks();
            // One connection for each address, or set of them, whatever runs there.
            let mut by_urls: BTreeMap<&[Url], Peer> = BTreeMap::new();
            let mut peers = BTreeMap::new();
            for (role, urls) in config.peers.grpc.iter().filter(|(role, _)| asked.contains(role)) {
                let peer = match by_urls.get(urls.as_slice()) {
                    Some(peer) => peer.clone(),
                    None => {
                        let there: BTreeSet<&str> =
                            config.peers.grpc.iter().filter(|(role, other)| asked.contains(role) && *other == urls).map(|(role, _)| role.as_str()).collect();
                        let name = there.into_iter().collect::<Vec<_>>().join("+");
                        Peer::new(name, urls, Arc::clone(env), metrics.clone())?
                    }
                };
                by_urls.insert(urls, peer.clone());
                peers.insert(*role, peer);
            }
            Ok(Self { auth: peers.remove(&Role::Auth).map(GrpcAuthClient::new), message: peers.remove(&Role::Message).map(GrpcMessageClient::new) })
        }

        /// Checks access tokens, if the auth role runs elsewhere.
        pub(crate) fn authenticator(&self) -> Option<Arc<dyn Authenticator>> {
            self.auth.clone().map(|auth| Arc::new(auth) as _)
        }

        /// Puts what runs elsewhere in place of what would run here.
        pub(crate) fn join(self, backend: &mut Backend) {
            if let Some(message) = self.message.map(Arc::new) {
                backend.messages = Arc::clone(&message) as _;
                backend.fan_out = message;
            }
        }
    }
}

#[cfg(feature = "cluster")]
pub(crate) use remote::Peers;

/// All roles run here.
#[cfg(not(feature = "cluster"))]
pub(crate) struct Peers;

#[cfg(not(feature = "cluster"))]
impl Peers {
    #[expect(clippy::unnecessary_wraps, reason = "with other roles elsewhere it can fail")]
    pub(crate) const fn of(_: &Config, _: &Arc<dyn Env>, _: &Metrics) -> Result<Self, StartError> {
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "with other roles elsewhere there is one")]
    pub(crate) fn authenticator(&self) -> Option<Arc<dyn Authenticator>> {
        None
    }

    #[expect(clippy::unused_self, reason = "with other roles elsewhere there is something to join")]
    pub(crate) const fn join(self, _: &mut Backend) {}
}
