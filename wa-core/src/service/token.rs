//! Access tokens: JWT, HS256 only, with keys that can be rotated (contract, section 7). Reading one never panics and
//! never asks a clock of its own; whether its session still stands is the auth service's question.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::{Error, Result, Unauthenticated};
use crate::id::{DeviceId, UserId};
use crate::session::{RefreshToken, Session, TokenHash};
use crate::time::Timestamp;

/// Longer texts are no token of ours and are not decoded.
const LONGEST: usize = 4096;

/// What a token says (contract, section 7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: UserId,
    /// The user again, as existing clients read it.
    pub user_id: UserId,
    /// Their phone; empty for a host's own users.
    #[serde(default)]
    pub phone: String,
    /// The device whose session the token belongs to.
    pub sid: DeviceId,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: i64,
    /// When it expires, in the same unit.
    pub exp: i64,
    /// Who made it.
    pub iss: String,
    /// Tells it from every other token.
    pub jti: String,
}

/// The phone that a token names. It says nothing of whether the token is good: ask for one that was authenticated.
#[must_use]
pub fn phone_in(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Phone {
        phone: String,
    }
    use base64::Engine as _;
    let claims = token.split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice::<Phone>(&json).ok().map(|claims| claims.phone)
}

/// A key that tokens are checked with.
struct Verifier {
    kid: String,
    key: DecodingKey,
}

impl Verifier {
    fn new(secret: &[u8]) -> Self {
        // Eight hex digits of a digest tell keys apart and tell nothing about them.
        let digest = TokenHash::of(&[b"wa key id ".as_slice(), secret].concat());
        Self { kid: digest.as_str()[..8].to_owned(), key: DecodingKey::from_secret(secret) }
    }
}

/// Makes and reads access tokens.
pub struct TokenSigner {
    issuer: String,
    ttl: Duration,
    signing: EncodingKey,
    /// The current key first, then previous ones.
    verifiers: Vec<Verifier>,
    validation: Validation,
    /// The key of refresh tokens that must come out the same again.
    derivation: Hmac<Sha256>,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("issuer", &self.issuer).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl TokenSigner {
    /// Signs with `secret`; tokens signed with one of `previous` are still accepted. Tokens hold for `ttl`.
    #[must_use]
    pub fn new(issuer: impl Into<String>, secret: &[u8], previous: &[Vec<u8>], ttl: Duration) -> Self {
        let issuer = issuer.into();
        let mut validation = Validation::new(Algorithm::HS256);
        // Time is an input of the core, so the library's own check, which reads the system clock, is off.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.leeway = 0;
        validation.set_required_spec_claims::<&str>(&["iss", "sub"]);
        validation.set_issuer(&[&issuer]);
        let derivation = Hmac::new_from_slice(secret).expect("HMAC takes keys of every length").chain_update(b"wa refresh token");
        Self {
            issuer,
            ttl,
            signing: EncodingKey::from_secret(secret),
            verifiers: std::iter::once(secret).chain(previous.iter().map(Vec::as_slice)).map(Verifier::new).collect(),
            validation,
            derivation,
        }
    }

    /// How long a token holds.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A token for this session. The same session, time and refresh token give the same access token.
    ///
    /// # Errors
    /// INTERNAL if the library cannot sign, which is a defect.
    pub fn sign(&self, session: &Session, at: Timestamp, refresh: &TokenHash) -> Result<String> {
        let iat = at.as_secs();
        let claims = Claims {
            sub: session.user_id,
            user_id: session.user_id,
            phone: session.phone.as_ref().map_or_else(String::new, ToString::to_string),
            sid: session.device_id,
            iat,
            exp: iat.saturating_add(i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX)),
            iss: self.issuer.clone(),
            // Derived, and from a hash: whoever holds the token learns nothing of the refresh token.
            jti: TokenHash::of(&[b"jti ".as_slice(), refresh.as_str().as_bytes()].concat()).as_str()[..32].to_owned(),
        };
        let header = Header { kid: self.verifiers.first().map(|verifier| verifier.kid.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(Error::internal)
    }

    /// Reads a token: signature, algorithm, issuer and claims first, then its time.
    ///
    /// # Errors
    /// TOKEN_EXPIRED for a token of ours whose time has passed, TOKEN_INVALID for anything else that is wrong with it.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Claims> {
        let claims = self.verify(token).ok_or(Error::Unauthenticated(Unauthenticated::Invalid))?;
        if now.as_secs() >= claims.exp {
            return Err(Error::Unauthenticated(Unauthenticated::Expired));
        }
        Ok(claims)
    }

    fn verify(&self, token: &str) -> Option<Claims> {
        if token.len() > LONGEST {
            return None;
        }
        let kid = jsonwebtoken::decode_header(token).ok()?.kid;
        // A token that names no key may be signed with any of ours; one that names a key must be signed with that.
        let claims = self
            .verifiers
            .iter()
            .filter(|verifier| kid.as_ref().is_none_or(|kid| *kid == verifier.kid))
            .find_map(|verifier| jsonwebtoken::decode::<Claims>(token, &verifier.key, &self.validation).ok())?
            .claims;
        (claims.sub == claims.user_id).then_some(claims)
    }

    /// The refresh token that follows this one under this key: the same whenever it is asked for, also after a restart,
    /// and known to nobody without the server's secret.
    #[must_use]
    pub fn successor(&self, old: &RefreshToken, key: &TokenHash) -> RefreshToken {
        let mac = self.derivation.clone().chain_update(old.hash().as_str()).chain_update(key.as_str());
        RefreshToken::new(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
    const TTL: Duration = Duration::from_secs(900);

    fn signer(secret: &[u8], previous: &[&[u8]]) -> TokenSigner {
        TokenSigner::new("wa", secret, &previous.iter().map(|secret| secret.to_vec()).collect::<Vec<_>>(), TTL)
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000)
    }

    fn session() -> Session {
        Session {
            device_id: DeviceId::from_uuid(Uuid::from_u128(2)),
            user_id: UserId::from_uuid(Uuid::from_u128(1)),
            phone: "+15550100001".parse().ok(),
            name: String::new(),
            platform: None,
            created_at: now(),
            last_active_at: now(),
            revoked: false,
        }
    }

    fn token(signer: &TokenSigner) -> String {
        signer.sign(&session(), now(), &TokenHash::of(b"refresh")).expect("signs")
    }

    fn code(result: Result<Claims>) -> &'static str {
        result.expect_err("is refused").code()
    }

    /// A token with these claims (over valid ones) and this header, signed with the secret.
    fn forged(header: &Header, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = serde_json::to_value(signer(SECRET, &[]).read(&token(&signer(SECRET, &[])), now()).expect("reads")).expect("is JSON");
        change(&mut claims);
        jsonwebtoken::encode(header, &claims, &EncodingKey::from_secret(SECRET)).expect("signs")
    }

    #[test]
    fn a_token_reads_back_until_its_time_has_passed() {
        let signer = signer(SECRET, &[]);
        let token = token(&signer);
        let claims = signer.read(&token, now()).expect("reads");
        assert_eq!((claims.sub, claims.sid, claims.phone.as_str()), (session().user_id, session().device_id, "+15550100001"));
        assert_eq!(claims.exp - claims.iat, 900);
        assert!(signer.read(&token, now().after(TTL - Duration::from_millis(1))).is_ok());
        assert_eq!(code(signer.read(&token, now().after(TTL))), "TOKEN_EXPIRED");
    }

    #[test]
    fn a_previous_key_verifies_and_does_not_sign() {
        let old = signer(SECRET, &[]);
        let new = signer(b"another secret of thirty-two bytes", &[SECRET]);
        assert!(new.read(&token(&old), now()).is_ok());
        assert_eq!(code(old.read(&token(&new), now())), "TOKEN_INVALID");
    }

    #[test]
    fn a_token_that_names_no_key_is_tried_with_each() {
        let token = forged(&Header::new(Algorithm::HS256), |_| {});
        assert!(signer(b"another secret of thirty-two bytes", &[SECRET]).read(&token, now()).is_ok());
    }

    #[test]
    fn forged_tokens_are_invalid() {
        let ours = signer(SECRET, &[]);
        let good = token(&ours);
        let part = |index: usize| good.split('.').nth(index).expect("three parts").to_owned();
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let hs256 = Header::new(Algorithm::HS256);
        let forgeries = [
            ("nothing", String::new()),
            ("two dots", "..".to_owned()),
            ("alg none", format!("{}.{}.", encode(json!({"alg": "none"})), part(1))),
            ("alg none, signed", format!("{}.{}.{}", encode(json!({"alg": "none"})), part(1), part(2))),
            ("another algorithm", forged(&Header::new(Algorithm::HS512), |_| {})),
            ("another key", token(&signer(b"another secret of thirty-two bytes", &[]))),
            ("an unknown key id", forged(&Header { kid: Some("00000000".to_owned()), ..hs256.clone() }, |_| {})),
            ("no signature", format!("{}.{}.", part(0), part(1))),
            ("other claims", format!("{}.{}.{}", part(0), encode(json!({"sub": "x"})), part(2))),
            ("another issuer", forged(&hs256, |claims| claims["iss"] = json!("somebody"))),
            ("no issuer", forged(&hs256, |claims| claims["iss"] = json!(null))),
            ("two users", forged(&hs256, |claims| claims["user_id"] = json!(Uuid::from_u128(9)))),
            ("no session", forged(&hs256, |claims| claims["sid"] = json!(null))),
            ("no expiry", forged(&hs256, |claims| claims["exp"] = json!(null))),
            ("an expiry that is no number", forged(&hs256, |claims| claims["exp"] = json!("later"))),
            ("far too long", "a".repeat(LONGEST + 1)),
        ];
        for (what, token) in forgeries {
            assert_eq!(code(ours.read(&token, now())), "TOKEN_INVALID", "{what}");
        }
    }

    #[test]
    fn a_forged_token_is_invalid_even_when_expired() {
        let token = forged(&Header::new(Algorithm::HS256), |claims| {
            claims["iss"] = json!("somebody");
            claims["exp"] = json!(0);
        });
        assert_eq!(code(signer(SECRET, &[]).read(&token, now())), "TOKEN_INVALID");
    }

    #[test]
    fn successors_repeat_per_key_and_differ_otherwise() {
        let (signer, other) = (signer(SECRET, &[]), signer(b"another secret of thirty-two bytes", &[]));
        let (old, key) = (RefreshToken::new([7; 32]), TokenHash::of(b"key"));
        assert_eq!(signer.successor(&old, &key), signer.successor(&old, &key));
        assert_ne!(signer.successor(&old, &key), signer.successor(&old, &TokenHash::of(b"other")));
        assert_ne!(signer.successor(&old, &key), signer.successor(&RefreshToken::new([8; 32]), &key));
        assert_ne!(signer.successor(&old, &key), other.successor(&old, &key));
    }

    #[test]
    fn debug_output_holds_no_key() {
        assert!(!format!("{:?}", signer(SECRET, &[])).contains("secret"));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(text in ".*") {
            prop_assert_eq!(code(signer(SECRET, &[]).read(&text, now())), "TOKEN_INVALID");
        }

        #[test]
        fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), with in "[A-Za-z0-9_.-]") {
            let signer = signer(SECRET, &[]);
            let good = token(&signer);
            let mut changed = good.clone();
            let at = at.index(good.len() - 1);
            changed.replace_range(at..=at, &with);
            prop_assume!(changed != good);
            prop_assert_eq!(code(signer.read(&changed, now())), "TOKEN_INVALID");
        }
    }
}
