//! The server's own key for Web Push: browsers name it when they subscribe, and push services check that whoever pushes has
//! it (VAPID, RFC 8292).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::json;

use super::jwt;

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a VAPID private key: 32 bytes as base64url")]
pub struct InvalidVapidKey;

/// The key. It does not show.
#[derive(Clone)]
pub struct VapidKey {
    key: SigningKey,
    public: String,
}

impl fmt::Debug for VapidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VapidKey(…)")
    }
}

impl VapidKey {
    /// Reads the private key: 32 bytes, base64url with or without padding, as other tools write it.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidVapidKey> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).map_err(|_| InvalidVapidKey)?;
        Self::of(&bytes)
    }

    /// Of random bytes. Of 2^32 texts about one is no key.
    ///
    /// # Errors
    /// If they are no number below the order of the curve.
    pub fn of(bytes: &[u8]) -> Result<Self, InvalidVapidKey> {
        let key = SigningKey::from_slice(bytes).map_err(|_| InvalidVapidKey)?;
        let public = URL_SAFE_NO_PAD.encode(key.verifying_key().to_encoded_point(false).as_bytes());
        Ok(Self { key, public })
    }

    /// As [`Self::parse`] reads it, for storing it.
    #[must_use]
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.to_bytes())
    }

    /// The public key, an uncompressed point as base64url: what browsers name as `applicationServerKey`.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The header `Authorization` for a push service of this origin.
    pub(super) fn authorization(&self, origin: &str, expires_at: i64, subject: &str) -> String {
        let claims = json!({ "aud": origin, "exp": expires_at, "sub": subject });
        let sign = |text: &[u8]| {
            let signature: Signature = self.key.sign(text);
            Ok::<_, std::convert::Infallible>(signature.to_bytes().to_vec())
        };
        match jwt::compact(&json!({ "typ": "JWT", "alg": "ES256" }), &claims, sign) {
            Ok(token) => format!("vapid t={token}, k={}", self.public),
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::Verifier as _;

    #[test]
    fn a_key_reads_back_and_signs_what_its_public_half_verifies() {
        let key = VapidKey::of(&[7; 32]).expect("a key");
        let again = VapidKey::parse(&key.reveal()).expect("reads back");
        assert_eq!(again.public(), key.public());
        assert_eq!(URL_SAFE_NO_PAD.decode(key.public()).expect("base64url").len(), 65);
        let header = key.authorization("https://push.example.org", 1_767_225_600, "mailto:a@example.org");
        let token = header.strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k=")).expect("its form");
        assert_eq!(token.1, key.public());
        let (text, signature) = token.0.rsplit_once('.').expect("signed");
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).expect("base64url")).expect("a signature");
        key.key.verifying_key().verify(text.as_bytes(), &signature).expect("verifies");
        let claims = URL_SAFE_NO_PAD.decode(text.split_once('.').expect("two parts").1).expect("base64url");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims, json!({ "aud": "https://push.example.org", "exp": 1_767_225_600, "sub": "mailto:a@example.org" }));
    }

    #[test]
    fn what_is_no_key_is_refused_and_none_shows() {
        for bad in ["", "x", "AAAA", &URL_SAFE_NO_PAD.encode([0; 32]), &URL_SAFE_NO_PAD.encode([255; 32]), &URL_SAFE_NO_PAD.encode([7; 33])] {
            assert!(VapidKey::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(format!("{:?}", VapidKey::of(&[7; 32])), "Ok(VapidKey(…))");
    }
}
