//! Codes, sessions and devices.

use std::collections::BTreeMap;
use std::time::Duration;

use wa_core::api::{AuthApi, Authenticator, UserApi};
use wa_core::limits::Limits;

use super::world::{World, phone, refused};

const MINUTE: Duration = Duration::from_secs(60);

/// A code that is not this one.
fn wrong(code: &str) -> String {
    if code == "000000" { "111111".to_owned() } else { "000000".to_owned() }
}

#[tokio::test]
async fn the_first_login_makes_the_account_and_every_login_a_device() {
    let world = World::new().await;
    let first = world.login(&phone(1)).await;
    let second = world.login(&phone(1)).await;
    assert_eq!((first.is_new_user, second.is_new_user), (true, false));
    assert_eq!(first.user.id, second.user.id);
    let caller = world.auth.authenticate(&second.access_token).await.expect("is valid");
    let devices = world.auth.devices(&caller).await.expect("are listed");
    let listed: BTreeMap<_, _> = devices.iter().map(|device| (device.device_id, device.current)).collect();
    assert_eq!(listed, BTreeMap::from([(first.device_id, false), (second.device_id, true)]));
}

#[tokio::test]
async fn a_code_is_good_once_and_for_five_minutes() {
    let world = World::new().await;
    assert_eq!(refused(world.verify(&phone(1), "123456").await), "OTP_EXPIRED");
    world.login(&phone(1)).await;
    assert_eq!(refused(world.verify(&phone(1), &world.outside.code(&phone(1))).await), "OTP_EXPIRED");
    world.auth.request_otp(&phone(1)).await.expect("is sent");
    world.env.advance(5 * MINUTE);
    assert_eq!(refused(world.verify(&phone(1), &world.outside.code(&phone(1))).await), "OTP_EXPIRED");
}

#[tokio::test]
async fn a_new_code_replaces_the_old() {
    let world = World::new().await;
    world.auth.request_otp(&phone(1)).await.expect("is sent");
    let old = world.outside.code(&phone(1));
    world.auth.request_otp(&phone(1)).await.expect("is sent");
    let new = world.outside.code(&phone(1));
    assert_ne!(old, new, "the seed happens to give the same code twice");
    assert_eq!(refused(world.verify(&phone(1), &old).await), "OTP_INVALID");
    world.verify(&phone(1), &new).await.expect("logs in");
}

#[tokio::test]
async fn five_wrong_codes_kill_the_code_until_a_new_one_is_requested() {
    let world = World::new().await;
    world.auth.request_otp(&phone(1)).await.expect("is sent");
    let right = world.outside.code(&phone(1));
    for _ in 0..4 {
        assert_eq!(refused(world.verify(&phone(1), &wrong(&right)).await), "OTP_INVALID");
        assert_eq!(refused(world.verify(&phone(1), "12345").await), "VALIDATION_ERROR", "what is no code is not counted");
    }
    assert_eq!(refused(world.verify(&phone(1), &wrong(&right)).await), "OTP_MAX_ATTEMPTS");
    for _ in 0..5 {
        assert_eq!(refused(world.verify(&phone(1), &right).await), "OTP_MAX_ATTEMPTS");
    }
    // Another phone is not concerned.
    world.login(&phone(2)).await;
    world.login(&phone(1)).await;
}

#[tokio::test]
async fn the_fifth_attempt_may_still_be_right() {
    let world = World::new().await;
    world.auth.request_otp(&phone(1)).await.expect("is sent");
    let right = world.outside.code(&phone(1));
    for _ in 0..4 {
        assert_eq!(refused(world.verify(&phone(1), &wrong(&right)).await), "OTP_INVALID");
    }
    world.verify(&phone(1), &right).await.expect("logs in");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_in_parallel_gets_no_more_than_five_guesses() {
    for limits in [Limits::default(), Limits { enabled: false, ..Limits::default() }] {
        let world = std::sync::Arc::new(World::with(limits).await);
        world.auth.request_otp(&phone(1)).await.expect("is sent");
        let guess = wrong(&world.outside.code(&phone(1)));
        let guesses: Vec<_> = (0..60)
            .map(|_| {
                let (world, guess) = (world.clone(), guess.clone());
                tokio::spawn(async move { refused(world.verify(&phone(1), &guess).await) })
            })
            .collect();
        let mut answers = BTreeMap::new();
        for guess in guesses {
            *answers.entry(guess.await.expect("ends")).or_insert(0) += 1;
        }
        assert_eq!(answers, BTreeMap::from([("OTP_INVALID", 4), ("OTP_MAX_ATTEMPTS", 56)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_type_the_right_code_at_once_one_gets_in() {
    let world = std::sync::Arc::new(World::new().await);
    world.auth.request_otp(&phone(1)).await.expect("is sent");
    let code = world.outside.code(&phone(1));
    let logins: Vec<_> = (0..5)
        .map(|_| {
            let (world, code) = (world.clone(), code.clone());
            tokio::spawn(async move { world.verify(&phone(1), &code).await.is_ok() })
        })
        .collect();
    let mut logged_in = 0;
    for login in logins {
        logged_in += usize::from(login.await.expect("ends"));
    }
    assert_eq!(logged_in, 1);
}

#[tokio::test]
async fn codes_are_sent_three_times_in_five_minutes() {
    let world = World::new().await;
    for _ in 0..3 {
        world.auth.request_otp(&phone(1)).await.expect("is sent");
    }
    let error = world.auth.request_otp(&phone(1)).await.expect_err("is refused");
    assert_eq!(error.code(), "RATE_LIMITED");
    world.auth.request_otp(&phone(2)).await.expect("is sent to another phone");
    world.env.advance(error.retry_after().expect("tells how long"));
    world.auth.request_otp(&phone(1)).await.expect("is sent after the wait");
}

#[tokio::test]
async fn asking_for_new_codes_gets_no_more_guesses() {
    let world = World::new().await;
    for wrong_codes in [4, 1] {
        world.auth.request_otp(&phone(1)).await.expect("is sent");
        let guess = wrong(&world.outside.code(&phone(1)));
        for _ in 0..wrong_codes {
            assert_eq!(refused(world.verify(&phone(1), &guess).await), "OTP_INVALID");
        }
    }
    let right = world.outside.code(&phone(1));
    let error = world.verify(&phone(1), &right).await.expect_err("is refused");
    assert_eq!(error.code(), "RATE_LIMITED");
    world.env.advance(error.retry_after().expect("tells how long"));
    world.verify(&phone(1), &right).await.expect("logs in after the wait");
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_session() {
    let world = World::new().await;
    let login = world.login(&phone(1)).await;
    let next = world.auth.refresh(&login.refresh_token, None).await.expect("rotates");
    assert_eq!((next.device_id, next.user.id, next.is_new_user), (login.device_id, login.user.id, false));
    assert_ne!(next.refresh_token, login.refresh_token);
    world.auth.authenticate(&next.access_token).await.expect("is valid");

    assert_eq!(refused(world.auth.refresh(&login.refresh_token, None).await), "UNAUTHORIZED");
    assert!(world.outside.was_cut(login.device_id));
    for token in [&login.access_token, &next.access_token] {
        assert_eq!(refused(world.auth.authenticate(token).await), "TOKEN_INVALID");
    }
    assert_eq!(refused(world.auth.refresh(&next.refresh_token, None).await), "UNAUTHORIZED");
}

#[tokio::test]
async fn a_refresh_repeated_with_its_key_gets_the_same_answer_for_thirty_seconds() {
    let world = World::new().await;
    let login = world.login(&phone(1)).await;
    let next = world.auth.refresh(&login.refresh_token, Some("key")).await.expect("rotates");
    world.env.advance(Duration::from_secs(29));
    assert_eq!(world.auth.refresh(&login.refresh_token, Some("key")).await.expect("repeats"), next);
    world.auth.refresh(&next.refresh_token, None).await.expect("what was answered is good");
}

#[tokio::test]
async fn another_key_or_a_late_repeat_is_reuse() {
    for (key, wait) in [(Some("other"), 1), (None, 1), (Some("key"), 31)] {
        let world = World::new().await;
        let login = world.login(&phone(1)).await;
        let next = world.auth.refresh(&login.refresh_token, Some("key")).await.expect("rotates");
        world.env.advance(Duration::from_secs(wait));
        assert_eq!(refused(world.auth.refresh(&login.refresh_token, key).await), "UNAUTHORIZED");
        assert_eq!(refused(world.auth.authenticate(&next.access_token).await), "TOKEN_INVALID");
    }
}

#[tokio::test]
async fn tokens_expire() {
    let world = World::new().await;
    let login = world.login(&phone(1)).await;
    world.env.advance(15 * MINUTE);
    assert_eq!(refused(world.auth.authenticate(&login.access_token).await), "TOKEN_EXPIRED");
    world.env.advance(Duration::from_secs(30 * 24 * 60 * 60));
    assert_eq!(refused(world.auth.refresh(&login.refresh_token, None).await), "UNAUTHORIZED");
}

#[tokio::test]
async fn a_removed_device_is_out_at_once_and_the_others_stay() {
    let world = World::new().await;
    let (old, current) = (world.login(&phone(1)).await, world.login(&phone(1)).await);
    let stranger = world.login(&phone(2)).await;
    let caller = world.auth.authenticate(&current.access_token).await.expect("is valid");
    assert_eq!(refused(world.auth.remove_device(&caller, stranger.device_id).await), "DEVICE_NOT_FOUND");
    world.auth.remove_device(&caller, old.device_id).await.expect("is removed");
    assert!(world.outside.was_cut(old.device_id) && !world.outside.was_cut(current.device_id));
    assert_eq!(refused(world.auth.authenticate(&old.access_token).await), "TOKEN_INVALID");
    assert_eq!(refused(world.auth.refresh(&old.refresh_token, None).await), "UNAUTHORIZED");
    assert_eq!(refused(world.auth.remove_device(&caller, old.device_id).await), "DEVICE_NOT_FOUND");
    world.auth.confirm(&caller).await.expect("stands");
    assert_eq!(world.auth.devices(&caller).await.expect("are listed").len(), 1);
}

#[tokio::test]
async fn logging_out_ends_the_session_named_by_the_token() {
    let world = World::new().await;
    let (one, two) = (world.login(&phone(1)).await, world.login(&phone(1)).await);
    let caller = world.auth.authenticate(&one.access_token).await.expect("is valid");
    // With the refresh token of another of one's devices, that one is ended.
    world.auth.logout(Some(caller), Some(&two.refresh_token)).await.expect("logs out");
    assert_eq!(refused(world.auth.authenticate(&two.access_token).await), "TOKEN_INVALID");
    world.auth.authenticate(&one.access_token).await.expect("is still valid");
    // A refresh token alone is enough, once.
    world.auth.logout(None, Some(&one.refresh_token)).await.expect("logs out");
    assert_eq!(refused(world.auth.authenticate(&one.access_token).await), "TOKEN_INVALID");
    assert_eq!(refused(world.auth.logout(None, Some(&one.refresh_token)).await), "UNAUTHORIZED");
}

#[tokio::test]
async fn an_erased_account_is_gone_and_its_phone_is_free() {
    let world = World::new().await;
    let login = world.login(&phone(1)).await;
    let caller = world.auth.authenticate(&login.access_token).await.expect("is valid");
    let other = world.user(2).await;
    world.users.delete_me(&caller, &phone(1)).await.expect("is erased");
    assert!(world.outside.was_cut(login.device_id));
    assert_eq!(refused(world.auth.authenticate(&login.access_token).await), "TOKEN_INVALID");
    assert_eq!(refused(world.auth.refresh(&login.refresh_token, None).await), "UNAUTHORIZED");
    assert_eq!(refused(world.users.profile(&other, login.user.id).await), "USER_NOT_FOUND");
    let again = world.login(&phone(1)).await;
    assert!(again.is_new_user && again.user.id != login.user.id);
}
