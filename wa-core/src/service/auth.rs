//! Login by phone and one-time password, token refresh, devices, and who a token belongs to (contract, sections 1.1, 7, 10).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::otp::{self, Code};
use super::rate::take;
use super::token::TokenSigner;
use crate::api::{AuthApi, Authenticator, LoggedIn, LoggedInUser, OtpRequested, VerifyOtp};
use crate::error::{Error, Missing, Result, Unauthenticated};
use crate::faults::planted;
use crate::id::{DeviceId, UserId};
use crate::limits::Limits;
use crate::phone::Phone;
use crate::ports::{Env, EnvExt, FanOut, NewRotation, NewSession, NewUser, OtpStore, RateLimiter, SessionStore, SmsSender, UserStore};
use crate::session::{Caller, DeviceView, RefreshToken, Rotation, Session, TokenHash};
use crate::time::Timestamp;
use crate::user::User;

/// After how long a device that connects counts as newly active; more often would be a write for every reconnect.
const ACTIVITY: Duration = Duration::from_secs(60);

/// What can be set about logins (contract, section 8).
#[derive(Debug, Clone, Copy)]
pub struct AuthConfig {
    /// How long a code holds.
    pub otp_ttl: Duration,
    /// How many times a code may be compared.
    pub otp_max_attempts: u32,
    /// How long a refresh token holds.
    pub refresh_ttl: Duration,
    /// Whether the answer carries the code: for development only.
    pub echo_otp: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { otp_ttl: Duration::from_secs(300), otp_max_attempts: 5, refresh_ttl: Duration::from_secs(30 * 24 * 60 * 60), echo_otp: false }
    }
}

/// What the auth service stands on.
#[derive(Clone)]
pub struct AuthDeps {
    /// Accounts.
    pub users: Arc<dyn UserStore>,
    /// Sessions and refresh tokens.
    pub sessions: Arc<dyn SessionStore>,
    /// One-time passwords.
    pub otps: Arc<dyn OtpStore>,
    /// Who carries them.
    pub sms: Arc<dyn SmsSender>,
    /// Buckets for codes sent and tried.
    pub limiter: Arc<dyn RateLimiter>,
    /// The sockets of this process.
    pub fan_out: Arc<dyn FanOut>,
    /// Access tokens.
    pub tokens: Arc<TokenSigner>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
    /// Settings.
    pub config: AuthConfig,
}

impl fmt::Debug for AuthDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthDeps").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Login, refresh, logout, devices, and the check of access tokens.
#[derive(Debug, Clone)]
pub struct AuthService {
    deps: AuthDeps,
}

const UNKNOWN: Error = Error::Unauthenticated(Unauthenticated::Missing);
const INVALID: Error = Error::Unauthenticated(Unauthenticated::Invalid);

fn phone(text: &str) -> Result<Phone> {
    text.parse().map_err(|error: crate::phone::InvalidPhone| Error::invalid("phone", error.to_string()))
}

/// A text that a device tells of itself: shown in a list, so held to one short line.
fn label(text: &str, max: usize) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(max).collect()
}

impl AuthService {
    /// Logins over these ports.
    #[must_use]
    pub const fn new(deps: AuthDeps) -> Self {
        Self { deps }
    }

    /// A pair of tokens for a session. The same arguments give the same pair.
    fn pair(&self, session: &Session, user: &User, refresh: &RefreshToken, at: Timestamp, is_new_user: bool) -> Result<LoggedIn> {
        let expires_in = self.deps.tokens.ttl().as_secs();
        Ok(LoggedIn {
            access_token: self.deps.tokens.sign(session, at, &refresh.hash())?,
            refresh_token: refresh.reveal(),
            expires_in,
            expires_in_seconds: expires_in,
            user: LoggedInUser {
                id: user.id,
                phone: user.phone.as_ref().map_or_else(String::new, ToString::to_string),
                display_name: user.display_name.clone(),
                is_new_user,
            },
            is_new_user,
            device_id: session.device_id,
        })
    }

    fn random_token(&self) -> RefreshToken {
        let mut bytes = [0; 32];
        self.deps.env.fill(&mut bytes);
        RefreshToken::new(bytes)
    }

    /// Ends sessions, and their sockets before it returns. The commit comes first: a socket that is opened in between
    /// asks for its session and finds it ended.
    async fn end(&self, user: UserId, devices: &[DeviceId]) -> Result<()> {
        let deps = &self.deps;
        deps.sessions.revoke(user, devices, deps.env.new_id(), deps.env.now()).await?;
        deps.fan_out.cut(devices).await;
        Ok(())
    }

    /// The live session of a device.
    async fn live(&self, user: UserId, device: DeviceId) -> Result<Arc<Session>> {
        let session = self.deps.sessions.get(device).await?.ok_or(INVALID)?;
        if session.revoked || session.user_id != user { Err(INVALID) } else { Ok(session) }
    }

    /// The session that a refresh token stands for at logout.
    async fn by_refresh(&self, token: &str) -> Result<Session> {
        if token.is_empty() {
            return Err(Error::invalid("refresh_token", "must not be empty"));
        }
        let token = RefreshToken::parse(token).ok_or(UNKNOWN)?;
        self.deps.sessions.by_refresh(&token.hash()).await?.filter(|session| !session.revoked).ok_or(UNKNOWN)
    }
}

#[async_trait]
impl AuthApi for AuthService {
    async fn request_otp(&self, text: &str) -> Result<OtpRequested> {
        let deps = &self.deps;
        let phone = phone(text)?;
        if deps.limits.enabled {
            take(&*deps.limiter, &format!("otp_send:{phone}"), deps.limits.otp_send).await?;
        }
        let code = Code::new(&*deps.env);
        otp::issue(&code, &phone, deps.config.otp_ttl, &*deps.otps, &*deps.sms, &*deps.env).await?;
        let request_id: Uuid = deps.env.new_id();
        tracing::info!(%request_id, phone = phone.masked(), "a code was sent");
        Ok(OtpRequested {
            request_id,
            message: "A verification code was sent to your phone".to_owned(),
            expires_in_seconds: deps.config.otp_ttl.as_secs(),
            otp: deps.config.echo_otp.then(|| code.reveal().to_owned()),
        })
    }

    async fn verify_otp(&self, request: VerifyOtp) -> Result<LoggedIn> {
        let deps = &self.deps;
        let phone = phone(&request.phone)?;
        let code = Code::parse(&request.otp).ok_or_else(|| Error::invalid("otp", "must be the six digits of the code"))?;
        // The attempt is counted first, so that parallel guesses never share one and a dead code always answers as such.
        // The bucket spans the codes of a phone: who keeps asking for new codes gets no more guesses by it. The last
        // attempt of a code needs no token, which leaves one for the right code after a lock-out.
        let comparison = otp::attempt(&phone, deps.config.otp_max_attempts, &*deps.otps, &*deps.env).await?;
        if deps.limits.enabled && !comparison.is_last {
            take(&*deps.limiter, &format!("otp_verify:{phone}"), deps.limits.otp_verify).await?;
        }
        comparison.decide(&code, &phone, &*deps.otps).await?;

        let at = deps.env.now();
        let new_user = NewUser { id: deps.env.new_id(), phone: Some(phone.clone()), display_name: String::new(), at };
        let (user, is_new_user) = deps.users.register(new_user).await?;
        let session = Session {
            device_id: deps.env.new_id(),
            user_id: user.id,
            phone: Some(phone),
            name: label(request.device_name.as_deref().unwrap_or_default(), deps.limits.device_name_length),
            platform: request.platform.map(|platform| label(&platform, deps.limits.device_name_length)).filter(|platform| !platform.is_empty()),
            created_at: at,
            last_active_at: at,
            revoked: false,
        };
        let refresh = self.random_token();
        let new_session = NewSession { session: session.clone(), refresh: refresh.hash(), expires_at: at.after(deps.config.refresh_ttl) };
        deps.sessions.create(new_session).await?;
        self.pair(&session, &user, &refresh, at, is_new_user)
    }

    async fn refresh(&self, refresh_token: &str, idempotency_key: Option<&str>) -> Result<LoggedIn> {
        let deps = &self.deps;
        if refresh_token.is_empty() {
            return Err(Error::invalid("refresh_token", "must not be empty"));
        }
        let old = RefreshToken::parse(refresh_token).ok_or(UNKNOWN)?;
        let key = idempotency_key.filter(|key| !key.is_empty()).map(|key| TokenHash::of(key.as_bytes()));
        // Derived where it may be asked for again, so that the answer needs to be stored nowhere.
        let new = key.as_ref().map_or_else(|| self.random_token(), |key| deps.tokens.successor(&old, key));
        let at = deps.env.now();
        let rotation = NewRotation {
            old: old.hash(),
            new: new.hash(),
            expires_at: at.after(deps.config.refresh_ttl),
            key,
            repeat_window: deps.limits.refresh_repeat_window,
            event_id: deps.env.new_id(),
            at,
        };
        let (session, at) = match deps.sessions.rotate(rotation).await? {
            Rotation::Rotated(session) => (session, at),
            Rotation::Repeated(session, first) => (session, first),
            Rotation::Reused(session) => {
                tracing::warn!(user_id = %session.user_id, device_id = %session.device_id, "a spent refresh token came back; its session was ended");
                deps.fan_out.cut(&[session.device_id]).await;
                return Err(UNKNOWN);
            }
            Rotation::Refused => return Err(UNKNOWN),
        };
        let user = deps.users.get(&[session.user_id]).await?.into_iter().find(|user| !user.is_deleted).ok_or(UNKNOWN)?;
        self.pair(&session, &user, &new, at, false)
    }

    async fn logout(&self, caller: Option<Caller>, refresh_token: Option<&str>) -> Result<()> {
        let (user, device) = match (caller, refresh_token) {
            (None, None) => return Err(UNKNOWN),
            (Some(caller), None) => (caller.user_id, caller.device_id),
            (caller, Some(token)) => {
                let session = self.by_refresh(token).await?;
                if caller.is_some_and(|caller| caller.user_id != session.user_id) {
                    return Err(UNKNOWN);
                }
                (session.user_id, session.device_id)
            }
        };
        self.end(user, &[device]).await
    }

    async fn devices(&self, caller: &Caller) -> Result<Vec<DeviceView>> {
        let sessions = self.deps.sessions.list(caller.user_id).await?;
        Ok(sessions
            .into_iter()
            .map(|session| DeviceView {
                device_id: session.device_id,
                name: session.name,
                platform: session.platform,
                created_at: session.created_at,
                last_active_at: session.last_active_at,
                current: session.device_id == caller.device_id,
            })
            .collect())
    }

    async fn remove_device(&self, caller: &Caller, device: DeviceId) -> Result<()> {
        match self.live(caller.user_id, device).await {
            Ok(_) => self.end(caller.user_id, &[device]).await,
            // Somebody else's device looks like none at all.
            Err(Error::Unauthenticated(_)) => Err(Error::not_found(Missing::Device)),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Authenticator for AuthService {
    async fn authenticate(&self, token: &str) -> Result<Caller> {
        let claims = self.deps.tokens.read(token, self.deps.env.now())?;
        if !planted("revoked_accepted") {
            self.live(claims.sub, claims.sid).await?;
        }
        Ok(Caller { user_id: claims.sub, device_id: claims.sid })
    }

    async fn confirm(&self, caller: &Caller) -> Result<()> {
        let session = self.live(caller.user_id, caller.device_id).await?;
        let now = self.deps.env.now();
        if now.since(session.last_active_at) >= ACTIVITY
            && let Err(error) = self.deps.sessions.touch(caller.device_id, now).await
        {
            // The list of devices shows an older time; that is no reason to refuse a socket.
            tracing::warn!(%error, device_id = %caller.device_id, "could not note that a device is active");
        }
        Ok(())
    }
}
