//! TLS as both halves of the client use it: the platform's trusted roots, on a provider named here so that nothing global is set.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::error::ClientError;

/// The configuration for a server reached over TLS, or one that trusts nobody for a server that is not.
pub(super) fn config(secure: bool) -> Result<Arc<ClientConfig>, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(ClientError::transport)?;
    let config = if secure {
        // Reading the machine's roots takes a while, so it is done only where they are needed.
        builder.with_platform_verifier().map_err(ClientError::transport)?.with_no_client_auth()
    } else {
        builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    Ok(Arc::new(config))
}
