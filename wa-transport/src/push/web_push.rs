//! Web Push (RFC 8030): the message encrypted to the browser (RFC 8291, RFC 8188) and handed to the push service that its
//! subscription names.

use std::sync::Arc;

use p256::PublicKey;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{NonZeroScalar, ecdh};
use reqwest::StatusCode;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use url::Url;
use wa_core::error::FieldError;
use wa_core::ports::{Env, PushOutcome};
use wa_core::push::{DeviceToken, Notice, PushAddress, TTL, WebPushKeys};

use super::address::{Place, place};
use super::breaker::Breaker;
use super::http::{NoTls, Reach, beginning, client, retry_after};
use super::vapid::VapidKey;

/// The size of the one record, header included: push services take 4,096 bytes (RFC 8291, section 4).
const RECORD: u32 = 4096;

/// How long a signed claim holds, in seconds; it may be 24 hours at the most.
const CLAIM: i64 = 12 * 3600;

/// Sends to browsers.
pub(super) struct WebPushSender {
    internet: reqwest::Client,
    /// Where push services on this machine may be called.
    loopback: Option<reqwest::Client>,
    key: VapidKey,
    subject: String,
    breaker: Breaker,
    env: Arc<dyn Env>,
}

impl WebPushSender {
    pub(super) fn new(key: VapidKey, subject: String, loopback: bool, env: Arc<dyn Env>) -> Result<Self, NoTls> {
        let loopback = loopback.then(|| client(Reach::Loopback)).transpose()?;
        Ok(Self { internet: client(Reach::Public)?, loopback, key, subject, breaker: Breaker::default(), env })
    }

    /// Whom to call this endpoint by, if it may be called.
    fn client(&self, endpoint: &Url) -> Option<&reqwest::Client> {
        match place(endpoint)? {
            Place::Internet => Some(&self.internet),
            Place::Loopback => self.loopback.as_ref(),
        }
    }

    pub(super) fn check(&self, address: &PushAddress) -> Result<(), FieldError> {
        let wrong = |field: &str, message: &str| Err(FieldError { field: field.to_owned(), message: message.to_owned() });
        if Url::parse(&address.token).ok().is_none_or(|endpoint| self.client(&endpoint).is_none()) {
            return wrong("token", "must be the endpoint of the subscription: an https URL of a public push service");
        }
        match &address.keys {
            Some(keys) if PublicKey::from_sec1_bytes(&keys.p256dh).is_ok() => Ok(()),
            _ => wrong("keys.p256dh", "must be a point of the curve P-256"),
        }
    }

    pub(super) async fn send(&self, to: &DeviceToken, notice: &Notice) -> PushOutcome {
        let endpoint = Url::parse(&to.address.token).ok();
        // What was accepted under other rules is not called by these.
        let Some((endpoint, client)) = endpoint.and_then(|url| self.client(&url).map(|client| (url, client))) else { return PushOutcome::Gone };
        let Some(body) = to.address.keys.as_ref().and_then(|keys| self.encrypted(keys, notice)) else { return PushOutcome::Gone };
        let origin = endpoint.origin().ascii_serialization();
        if let Err(wait) = self.breaker.ask(&origin) {
            return PushOutcome::Resting { wait };
        }
        let authorization = self.key.authorization(&origin, self.env.now().as_secs() + CLAIM, &self.subject);
        let request = client
            .post(endpoint)
            .header("authorization", authorization)
            .header("content-encoding", "aes128gcm")
            .header("content-type", "application/octet-stream")
            .header("ttl", TTL.as_secs())
            .header("urgency", "high")
            // One that is sent again takes the place of the first.
            .header("topic", topic(notice))
            .body(body);
        match request.send().await {
            Ok(response) => self.outcome(&origin, response).await,
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "a push service could not be reached");
                self.breaker.failed(&origin);
                PushOutcome::Failed { retry_after: None }
            }
        }
    }

    /// The status says nearly all there is to know (RFC 8030, sections 5 and 8.4; RFC 8292, section 4.2).
    async fn outcome(&self, origin: &str, response: reqwest::Response) -> PushOutcome {
        let status = response.status();
        let asked = retry_after(response.headers());
        let failed = || PushOutcome::Failed { retry_after: asked };
        match status {
            _ if status.is_success() => {
                self.breaker.answered(origin);
                PushOutcome::Sent
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                self.breaker.answered(origin);
                PushOutcome::Gone
            }
            StatusCode::FORBIDDEN => {
                self.breaker.answered(origin);
                // Apple's word for a claim that is wrong in itself, such as by its subject or its time: that is ours to mend. Else
                // the subscription is for another key than ours.
                if String::from_utf8_lossy(&beginning(response).await.unwrap_or_default()).contains("JwtToken") {
                    tracing::warn!("a push service does not accept what the server says of itself; check push.vapid_subject and the clock");
                    return failed();
                }
                PushOutcome::Gone
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => failed(),
            _ if status.is_client_error() => {
                tracing::warn!(status = status.as_u16(), "a push service refused a push");
                self.breaker.answered(origin);
                PushOutcome::Refused
            }
            _ => {
                tracing::warn!(status = status.as_u16(), "a push service did not take a push");
                if status.is_server_error() {
                    self.breaker.failed(origin);
                }
                failed()
            }
        }
    }

    fn encrypted(&self, keys: &WebPushKeys, notice: &Notice) -> Option<Vec<u8>> {
        let text = serde_json::to_vec(&notice.data()).ok()?;
        let mut salt = [0; 16];
        self.env.fill(&mut salt);
        // Of 2^32 random numbers about one is no scalar.
        let own = std::iter::repeat_with(|| {
            let mut bytes = [0; 32];
            self.env.fill(&mut bytes);
            NonZeroScalar::try_from(bytes.as_slice()).ok()
        });
        let own = own.take(4).flatten().next()?;
        encrypt(keys, &text, &own, salt)
    }
}

/// 32 characters that name the push.
fn topic(notice: &Notice) -> String {
    notice.message_id.map_or_else(|| notice.chat_id.as_uuid().simple(), |id| id.as_uuid().simple()).to_string()
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Option<[u8; N]> {
    let mut out = [0; N];
    prk.expand(info, Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

/// RFC 8291, section 3.4, as one record of RFC 8188. `None` if the browser's key is no point of the curve.
fn encrypt(keys: &WebPushKeys, text: &[u8], own: &NonZeroScalar, salt: [u8; 16]) -> Option<Vec<u8>> {
    let theirs = PublicKey::from_sec1_bytes(&keys.p256dh).ok()?;
    let public = PublicKey::from_secret_scalar(own).to_encoded_point(false);
    let shared = ecdh::diffie_hellman(own, theirs.as_affine());
    let combined = Salt::new(HKDF_SHA256, &keys.auth).extract(shared.raw_secret_bytes());
    let secret: [u8; 32] = expand(&combined, &[b"WebPush: info\0", &keys.p256dh, public.as_bytes()])?;
    let prk = Salt::new(HKDF_SHA256, &salt).extract(&secret);
    let key: [u8; 16] = expand(&prk, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = expand(&prk, &[b"Content-Encoding: nonce\0"])?;
    let mut sealed = text.to_vec();
    // The delimiter of the last record.
    sealed.push(2);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).ok()?;
    let mut body = Vec::with_capacity(16 + 4 + 1 + 65 + sealed.len());
    body.extend_from_slice(&salt);
    body.extend_from_slice(&RECORD.to_be_bytes());
    body.push(65);
    body.extend_from_slice(public.as_bytes());
    body.extend_from_slice(&sealed);
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use wa_core::testing::SimEnv;

    /// RFC 8291, section 5 and appendix A.
    #[test]
    fn the_example_of_the_standard_comes_out() {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
        let keys = WebPushKeys::parse("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg");
        let own = NonZeroScalar::try_from(bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw").as_slice()).expect("a scalar");
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().expect("16 bytes");
        let body = encrypt(&keys.expect("keys"), b"When I grow up, I want to be a watermelon", &own, salt).expect("encrypted");
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(URL_SAFE_NO_PAD.encode(body), expected);
    }

    #[test]
    fn a_key_off_the_curve_is_refused() {
        let mut p256dh = [1; 65];
        p256dh[0] = 4;
        let address = |token: &str, p256dh| PushAddress { token: token.to_owned(), keys: Some(WebPushKeys { p256dh, auth: [0; 16] }) };
        let sender = |loopback| {
            let key = VapidKey::of(&[7; 32]).expect("a key");
            WebPushSender::new(key, String::new(), loopback, Arc::new(SimEnv::new(1))).expect("certificates")
        };
        let field = |sender: &WebPushSender, token| sender.check(&address(token, p256dh)).expect_err("refused").field;
        let (anywhere, local) = (sender(false), sender(true));
        assert_eq!(field(&anywhere, "https://push.example.org/x"), "keys.p256dh");
        for private in ["http://10.0.0.1/x", "http://127.0.0.1/x", "https://localhost/x", "http://[::1]/x"] {
            assert_eq!(field(&anywhere, private), "token", "{private}");
        }
        assert_eq!(field(&local, "http://10.0.0.1/x"), "token");
        assert_eq!(field(&local, "http://127.0.0.1/x"), "keys.p256dh");
        assert!(encrypt(&WebPushKeys { p256dh, auth: [0; 16] }, b"", &NonZeroScalar::try_from([7; 32].as_slice()).expect("a scalar"), [0; 16]).is_none());
    }
}
