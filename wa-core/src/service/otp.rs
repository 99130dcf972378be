//! One-time passwords (contract, sections 7 and 10): made, sent, and compared at most as often as their attempts allow.

use std::time::Duration;

use crate::error::{Error, OtpRefusal, Result};
use crate::phone::Phone;
use crate::ports::{Env, EnvExt, OtpStore, SmsSender};
use crate::session::OtpAttempt;

/// The bcrypt cost, the lowest there is. A code has six digits, five attempts and five minutes: the attempt counter is
/// what guards it. Whoever could read the hash could try all million codes at any cost that a login can afford, and the
/// hash is computed inline, where a higher cost would stall other requests.
const COST: u32 = 4;

/// A code that was made for one phone.
pub(super) struct Code(String);

impl Code {
    /// Six digits, each equally likely.
    pub(super) fn new(env: &dyn Env) -> Self {
        Self(format!("{:06}", env.below(1_000_000)))
    }

    /// What a client typed, if it can be a code at all.
    pub(super) fn parse(text: &str) -> Option<Self> {
        (text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// The digits, for the message that carries them and for development.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    fn hash(&self, env: &dyn Env) -> Result<String> {
        let mut salt = [0; 16];
        env.fill(&mut salt);
        Ok(bcrypt::hash_with_salt(&self.0, COST, salt).map_err(|error| Error::internal(error.to_string()))?.to_string())
    }
}

/// Sends a code and makes it the phone's only one.
///
/// The message goes first, once it is sure that the code could be stored: if it cannot be sent, no code is stored, and one
/// that was sent before stays as it is.
pub(super) async fn issue(code: &Code, phone: &Phone, ttl: Duration, otps: &dyn OtpStore, sms: &dyn SmsSender, env: &dyn Env) -> Result<()> {
    otps.ready(phone).await?;
    let hash = code.hash(env)?;
    let text = format!("Your verification code is {}. It is valid for {}. Do not share it with anyone.", code.reveal(), spoken(ttl));
    sms.send(phone, &text).await.map_err(Error::unavailable)?;
    Ok(otps.put(phone, &hash, env.now().after(ttl)).await?)
}

/// A stored code that may be compared once.
pub(super) struct Comparison {
    hash: String,
    /// Whether the code is dead after it.
    pub(super) is_last: bool,
    retry_after: Duration,
}

/// Counts an attempt, before anything is compared.
pub(super) async fn attempt(phone: &Phone, max_attempts: u32, otps: &dyn OtpStore, env: &dyn Env) -> Result<Comparison> {
    let now = env.now();
    match otps.attempt(phone, max_attempts, now).await? {
        OtpAttempt::Absent => Err(Error::Otp(OtpRefusal::Expired)),
        OtpAttempt::Exhausted { expires_at } => Err(Error::OtpMaxAttempts { retry_after: expires_at.since(now) }),
        OtpAttempt::Allowed { hash, attempt, expires_at } => Ok(Comparison { hash, is_last: attempt >= max_attempts, retry_after: expires_at.since(now) }),
    }
}

impl Comparison {
    /// Compares and uses the code up.
    pub(super) async fn decide(self, code: &Code, phone: &Phone, otps: &dyn OtpStore) -> Result<()> {
        if !bcrypt::verify(&code.0, &self.hash).map_err(|error| Error::internal(error.to_string()))? {
            return Err(if self.is_last { Error::OtpMaxAttempts { retry_after: self.retry_after } } else { Error::Otp(OtpRefusal::Invalid) });
        }
        // Of two who typed the same right code at once, one gets in; the other finds it used.
        if otps.consume(phone, &self.hash).await? { Ok(()) } else { Err(Error::Otp(OtpRefusal::Expired)) }
    }
}

/// A time as people say it.
fn spoken(time: Duration) -> String {
    match time.as_secs() {
        60 => "1 minute".to_owned(),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}
