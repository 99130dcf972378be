//! Codes, refresh, logout and the check of tokens.

use std::sync::Arc;
use std::time::Duration;

use mockall::Sequence;
use mockall::predicate::{always, eq};

use super::mocks::{MockFanOut, MockOtpStore, MockRateLimiter, MockSessionStore, MockSmsSender, MockUserStore};
use super::{ALICE, BOB, caller, down, env, user};
use crate::api::{AuthApi, Authenticator, VerifyOtp};
use crate::error::Error;
use crate::id::DeviceId;
use crate::limits::Limits;
use crate::ports::{Admission, Env};
use crate::service::{AuthConfig, AuthDeps, AuthService, TokenSigner};
use crate::session::{OtpAttempt, RefreshToken, Rotation, Session, TokenHash};
use crate::testing::SimEnv;

const PHONE: &str = "+15550100001";
const SECRET: &[u8] = b"a secret of thirty-two bytes or more";

/// Mocks that allow no call until a test says so.
struct Ports {
    users: MockUserStore,
    sessions: MockSessionStore,
    otps: MockOtpStore,
    sms: MockSmsSender,
    limiter: MockRateLimiter,
    fan_out: MockFanOut,
    env: Arc<SimEnv>,
    limits: Limits,
    config: AuthConfig,
}

impl Ports {
    fn new() -> Self {
        Self {
            users: MockUserStore::new(),
            sessions: MockSessionStore::new(),
            otps: MockOtpStore::new(),
            sms: MockSmsSender::new(),
            limiter: MockRateLimiter::new(),
            fan_out: MockFanOut::new(),
            env: env(),
            limits: Limits::default(),
            config: AuthConfig::default(),
        }
    }

    fn granting() -> Self {
        let mut ports = Self::new();
        ports.limiter.expect_take().returning(|_, _| Ok(Admission::Granted));
        ports.otps.expect_ready().returning(|_| Ok(()));
        ports
    }

    fn service(self) -> AuthService {
        AuthService::new(AuthDeps {
            users: Arc::new(self.users),
            sessions: Arc::new(self.sessions),
            otps: Arc::new(self.otps),
            sms: Arc::new(self.sms),
            limiter: Arc::new(self.limiter),
            fan_out: Arc::new(self.fan_out),
            tokens: Arc::new(tokens()),
            env: self.env,
            limits: Arc::new(self.limits),
            config: self.config,
        })
    }
}

fn tokens() -> TokenSigner {
    TokenSigner::new("wa", SECRET, &[], Duration::from_secs(900))
}

fn session() -> Session {
    let at = SimEnv::new(1).now();
    Session {
        device_id: caller(ALICE).device_id,
        user_id: ALICE,
        phone: PHONE.parse().ok(),
        name: String::new(),
        platform: None,
        created_at: at,
        last_active_at: at,
        revoked: false,
    }
}

fn verification(otp: &str) -> VerifyOtp {
    VerifyOtp { phone: PHONE.to_owned(), otp: otp.to_owned(), device_name: None, platform: None }
}

/// What the store says of an attempt at the code 123456.
fn allowed(attempt: u32) -> OtpAttempt {
    let hash = bcrypt::hash_with_salt("123456", 4, [7; 16]).expect("hashes").to_string();
    OtpAttempt::Allowed { hash, attempt, expires_at: SimEnv::new(1).now().after(Duration::from_secs(100)) }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.expect_err("is refused").code()
}

fn refresh_text() -> String {
    RefreshToken::new([9; 32]).reveal()
}

#[tokio::test]
async fn a_code_is_stored_after_its_message_was_taken() {
    let mut ports = Ports::granting();
    let mut order = Sequence::new();
    ports.sms.expect_send().withf(|to, text| to.as_str() == PHONE && text.contains("5 minutes")).once().in_sequence(&mut order).returning(|_, _| Ok(()));
    let expires_at = ports.env.now().after(Duration::from_secs(300));
    ports
        .otps
        .expect_put()
        .withf(move |to, hash, at| to.as_str() == PHONE && hash.starts_with("$2b$04$") && *at == expires_at)
        .once()
        .in_sequence(&mut order)
        .returning(|_, _, _| Ok(()));
    let answer = ports.service().request_otp(PHONE).await.expect("is sent");
    assert_eq!((answer.expires_in_seconds, answer.otp), (300, None));
}

#[tokio::test]
async fn nobody_is_sent_a_code_that_could_not_be_stored() {
    let mut ports = Ports::new();
    ports.limiter.expect_take().returning(|_, _| Ok(Admission::Granted));
    ports.otps.expect_ready().once().returning(|_| down());
    assert_eq!(refused(ports.service().request_otp(PHONE).await), "UNAVAILABLE");
}

#[tokio::test]
async fn a_failed_message_stores_no_code() {
    let mut ports = Ports::granting();
    ports.sms.expect_send().once().returning(|_, _| down());
    assert_eq!(refused(ports.service().request_otp(PHONE).await), "UNAVAILABLE");
}

#[tokio::test]
async fn the_code_is_echoed_only_where_that_is_switched_on_and_fits_its_hash() {
    let mut ports = Ports::granting();
    ports.config.echo_otp = true;
    ports.sms.expect_send().returning(|_, _| Ok(()));
    let (sent, stored) = std::sync::mpsc::channel();
    ports.otps.expect_put().returning(move |_, hash, _| {
        sent.send(hash.to_owned()).expect("is received");
        Ok(())
    });
    let otp = ports.service().request_otp(PHONE).await.expect("is sent").otp.expect("is echoed");
    assert!(otp.len() == 6 && bcrypt::verify(otp, &stored.recv().expect("was stored")).expect("compares"));
}

#[tokio::test]
async fn without_a_limiter_no_code_is_sent() {
    let mut ports = Ports::new();
    ports.limiter.expect_take().once().returning(|_, _| down());
    assert_eq!(refused(ports.service().request_otp(PHONE).await), "UNAVAILABLE");
}

#[tokio::test]
async fn too_many_codes_for_one_phone_are_refused_with_the_time_to_wait() {
    let mut ports = Ports::new();
    let retry_after = Duration::from_secs(42);
    ports.limiter.expect_take().with(eq("otp_send:+15550100001"), eq(Limits::default().otp_send)).returning(move |_, _| Ok(Admission::Refused { retry_after }));
    let error = ports.service().request_otp(PHONE).await.expect_err("is refused");
    assert_eq!((error.code(), error.retry_after()), ("RATE_LIMITED", Some(retry_after)));
}

#[tokio::test]
async fn limits_that_are_off_ask_no_limiter() {
    let mut ports = Ports::new();
    ports.limits.enabled = false;
    ports.sms.expect_send().returning(|_, _| Ok(()));
    ports.otps.expect_ready().returning(|_| Ok(()));
    ports.otps.expect_put().returning(|_, _, _| Ok(()));
    ports.otps.expect_attempt().returning(|_, _, _| Ok(allowed(1)));
    let service = ports.service();
    service.request_otp(PHONE).await.expect("is sent");
    assert_eq!(refused(service.verify_otp(verification("000000")).await), "OTP_INVALID");
}

#[tokio::test]
async fn a_bad_phone_or_code_reaches_no_port() {
    let service = Ports::new().service();
    for phone in ["", "15550100001", "+1 555 010 0001", "+1"] {
        assert_eq!(service.request_otp(phone).await.expect_err("is refused").details()[0].field, "phone");
    }
    for otp in ["", "12345", "1234567", "12345a", "١٢٣٤٥٦", " 12345", "+12345"] {
        assert_eq!(service.verify_otp(verification(otp)).await.expect_err("is refused").details()[0].field, "otp", "{otp}");
    }
}

#[tokio::test]
async fn each_state_of_a_code_has_its_answer() {
    let expires_at = SimEnv::new(1).now().after(Duration::from_secs(100));
    let cases = [
        (OtpAttempt::Absent, "OTP_EXPIRED"),
        (OtpAttempt::Exhausted { expires_at }, "OTP_MAX_ATTEMPTS"),
        (allowed(1), "OTP_INVALID"),
        (allowed(4), "OTP_INVALID"),
        (allowed(5), "OTP_MAX_ATTEMPTS"),
    ];
    for (state, expected) in cases {
        let mut ports = Ports::granting();
        let answer = state.clone();
        ports.otps.expect_attempt().with(always(), eq(5), eq(ports.env.now())).return_once(move |_, _, _| Ok(answer));
        let error = ports.service().verify_otp(verification("000000")).await.expect_err("is wrong");
        assert_eq!(error.code(), expected, "{state:?}");
        assert_eq!(error.retry_after(), (expected == "OTP_MAX_ATTEMPTS").then(|| Duration::from_secs(100)));
    }
}

#[tokio::test]
async fn a_dead_code_and_the_last_attempt_take_no_token() {
    let expires_at = SimEnv::new(1).now();
    for state in [OtpAttempt::Absent, OtpAttempt::Exhausted { expires_at }, allowed(5)] {
        let mut ports = Ports::new();
        ports.otps.expect_attempt().return_once(move |_, _, _| Ok(state));
        ports.service().verify_otp(verification("000000")).await.expect_err("is refused");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_compared() {
    let mut ports = Ports::new();
    ports.otps.expect_attempt().return_once(|_, _, _| Ok(allowed(1)));
    ports
        .limiter
        .expect_take()
        .with(eq("otp_verify:+15550100001"), eq(Limits::default().otp_verify))
        .once()
        .returning(|_, _| Ok(Admission::Refused { retry_after: Duration::from_secs(1) }));
    assert_eq!(refused(ports.service().verify_otp(verification("123456")).await), "RATE_LIMITED");
}

#[tokio::test]
async fn a_right_code_that_somebody_else_used_first_logs_nobody_in() {
    let mut ports = Ports::granting();
    ports.otps.expect_attempt().return_once(|_, _, _| Ok(allowed(2)));
    ports.otps.expect_consume().once().returning(|_, _| Ok(false));
    assert_eq!(refused(ports.service().verify_otp(verification("123456")).await), "OTP_EXPIRED");
}

#[tokio::test]
async fn a_right_code_is_used_up_before_anything_else_is_done() {
    let mut ports = Ports::granting();
    let mut order = Sequence::new();
    ports.otps.expect_attempt().return_once(|_, _, _| Ok(allowed(1)));
    ports.otps.expect_consume().once().in_sequence(&mut order).returning(|_, _| Ok(true));
    ports.users.expect_register().once().in_sequence(&mut order).returning(|new| Ok((crate::user::User { phone: new.phone, ..user(new.id) }, true)));
    ports
        .sessions
        .expect_create()
        .once()
        .in_sequence(&mut order)
        .withf(|new| new.session.name == "Pixel 9" && new.session.platform.as_deref() == Some("android"))
        .returning(|_| Ok(()));
    let request = VerifyOtp { device_name: Some(" Pixel\u{7} 9 ".to_owned()), platform: Some("android".to_owned()), ..verification("123456") };
    let now = ports.env.now();
    let answer = ports.service().verify_otp(request).await.expect("logs in");
    assert!(answer.is_new_user && answer.user.is_new_user && answer.expires_in == 900);
    let claims = tokens().read(&answer.access_token, now).expect("reads");
    assert_eq!((claims.sub, claims.sid, claims.phone.as_str()), (answer.user.id, answer.device_id, PHONE));
}

#[tokio::test]
async fn a_repeated_refresh_gives_the_very_same_answer() {
    let mut ports = Ports::new();
    ports.users.expect_get().returning(|ids| Ok(ids.iter().map(|id| user(*id)).collect()));
    let first = ports.env.now();
    let mut answers = vec![Rotation::Repeated(session(), first), Rotation::Rotated(session())];
    ports.sessions.expect_rotate().times(2).returning(move |_| Ok(answers.pop().expect("two calls")));
    let env = Arc::clone(&ports.env);
    let service = ports.service();
    let one = service.refresh(&refresh_text(), Some("key")).await.expect("rotates");
    env.advance(Duration::from_secs(20));
    assert_eq!(service.refresh(&refresh_text(), Some("key")).await.expect("repeats"), one);
}

#[tokio::test]
async fn without_a_key_every_successor_is_random() {
    let mut ports = Ports::new();
    ports.users.expect_get().returning(|ids| Ok(ids.iter().map(|id| user(*id)).collect()));
    ports.sessions.expect_rotate().times(3).withf(|rotation| rotation.key.is_none()).returning(|_| Ok(Rotation::Rotated(session())));
    let service = ports.service();
    let mut tokens = vec![];
    for key in [None, None, Some("")] {
        tokens.push(service.refresh(&refresh_text(), key).await.expect("rotates").refresh_token);
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

#[tokio::test]
async fn a_spent_refresh_token_cuts_the_sockets_of_its_device() {
    let mut ports = Ports::new();
    ports.sessions.expect_rotate().return_once(|_| Ok(Rotation::Reused(session())));
    ports.fan_out.expect_cut().withf(|devices| devices == [session().device_id]).once().return_const(());
    assert_eq!(refused(ports.service().refresh(&refresh_text(), None).await), "UNAUTHORIZED");
}

#[tokio::test]
async fn refresh_tokens_that_cannot_be_ours_reach_no_port() {
    let service = Ports::new().service();
    assert_eq!(refused(service.refresh("", None).await), "VALIDATION_ERROR");
    assert_eq!(refused(service.logout(None, Some("")).await), "VALIDATION_ERROR");
    for token in ["x".to_owned(), "!".repeat(43), "a".repeat(100_000)] {
        assert_eq!(refused(service.refresh(&token, None).await), "UNAUTHORIZED");
        assert_eq!(refused(service.logout(Some(caller(ALICE)), Some(&token)).await), "UNAUTHORIZED");
    }
    assert_eq!(refused(service.logout(None, None).await), "UNAUTHORIZED");
}

#[tokio::test]
async fn sockets_are_cut_once_the_end_of_the_session_is_committed() {
    let mut ports = Ports::new();
    let mut order = Sequence::new();
    ports
        .sessions
        .expect_revoke()
        .with(eq(ALICE), eq([session().device_id]), always(), always())
        .once()
        .in_sequence(&mut order)
        .returning(|_, devices, _, _| Ok(devices.to_vec()));
    ports.fan_out.expect_cut().once().in_sequence(&mut order).return_const(());
    ports.service().logout(Some(caller(ALICE)), None).await.expect("logs out");
}

#[tokio::test]
async fn a_session_that_could_not_be_ended_is_not_reported_as_ended() {
    let mut ports = Ports::new();
    ports.sessions.expect_revoke().returning(|_, _, _, _| down());
    assert_eq!(refused(ports.service().logout(Some(caller(ALICE)), None).await), "UNAVAILABLE");
}

#[tokio::test]
async fn a_refresh_token_logs_out_its_own_device_and_no_other_users() {
    let other = DeviceId::from_uuid(uuid::Uuid::from_u128(77));
    for (caller, owner, expected) in [(None, ALICE, Ok(())), (Some(caller(ALICE)), ALICE, Ok(())), (Some(caller(BOB)), ALICE, Err("UNAUTHORIZED"))] {
        let mut ports = Ports::new();
        let found = Session { device_id: other, user_id: owner, ..session() };
        ports.sessions.expect_by_refresh().with(eq(TokenHash::of(&[9; 32]))).return_once(move |_| Ok(Some(found)));
        if expected.is_ok() {
            ports.sessions.expect_revoke().with(eq(owner), eq([other]), always(), always()).once().returning(|_, devices, _, _| Ok(devices.to_vec()));
            ports.fan_out.expect_cut().once().return_const(());
        }
        let result = ports.service().logout(caller, Some(&refresh_text())).await;
        assert_eq!(result.map_err(|error| error.code()), expected);
    }
}

#[tokio::test]
async fn the_refresh_token_of_an_ended_session_logs_nobody_out() {
    let mut ports = Ports::new();
    ports.sessions.expect_by_refresh().return_once(|_| Ok(Some(Session { revoked: true, ..session() })));
    assert_eq!(refused(ports.service().logout(None, Some(&refresh_text())).await), "UNAUTHORIZED");
}

#[tokio::test]
async fn a_device_that_is_not_the_callers_cannot_be_told_from_none() {
    for found in [None, Some(Session { user_id: BOB, ..session() }), Some(Session { revoked: true, ..session() })] {
        let mut ports = Ports::new();
        ports.sessions.expect_get().return_once(|_| Ok(found.map(Arc::new)));
        assert_eq!(refused(ports.service().remove_device(&caller(ALICE), session().device_id).await), "DEVICE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_token_is_only_as_good_as_its_session() {
    let token = tokens().sign(&session(), SimEnv::new(1).now(), &TokenHash::of(b"x")).expect("signs");
    let cases = [
        (Ok(Some(session())), Ok(caller(ALICE))),
        (Ok(None), Err("TOKEN_INVALID")),
        (Ok(Some(Session { revoked: true, ..session() })), Err("TOKEN_INVALID")),
        (Ok(Some(Session { user_id: BOB, ..session() })), Err("TOKEN_INVALID")),
        (down(), Err("UNAVAILABLE")),
    ];
    for (found, expected) in cases {
        let mut ports = Ports::new();
        ports.sessions.expect_get().return_once(|_| found.map(|session| session.map(Arc::new)));
        assert_eq!(ports.service().authenticate(&token).await.map_err(|error| error.code()), expected);
    }
    let ports = Ports::new();
    ports.env.advance(Duration::from_secs(900));
    assert_eq!(refused(ports.service().authenticate(&token).await), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_device_that_connects_is_noted_as_active_now_and_then() {
    for (passed, touches) in [(59, 0), (60, 1)] {
        let mut ports = Ports::new();
        ports.env.advance(Duration::from_secs(passed));
        ports.sessions.expect_get().return_once(|_| Ok(Some(Arc::new(session()))));
        // That it could not be noted is no reason to refuse the socket.
        ports.sessions.expect_touch().times(touches).returning(|_, _| down());
        ports.service().confirm(&caller(ALICE)).await.expect("stands");
    }
}
