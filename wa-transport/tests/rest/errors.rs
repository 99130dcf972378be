//! The table from errors to HTTP.

use std::fmt::Write as _;
use std::time::Duration;

use wa_core::error::{Conflict, Denied, Error, FieldError, Missing, OtpRefusal, TooLarge, Unauthenticated};

use crate::support::*;

fn every_error() -> Vec<Error> {
    use Error as E;
    let retry_after = Duration::from_millis(2001);
    vec![
        E::BadRequest("The cursor is not valid".to_owned()),
        E::Validation(vec![
            FieldError { field: "payload.body".to_owned(), message: "must not be empty".to_owned() },
            FieldError { field: "client_msg_id".to_owned(), message: "is required".to_owned() },
        ]),
        E::Unauthenticated(Unauthenticated::Missing),
        E::Unauthenticated(Unauthenticated::Expired),
        E::Unauthenticated(Unauthenticated::Invalid),
        E::Denied(Denied::Forbidden("Only the author may")),
        E::Denied(Denied::NotChatMember),
        E::Denied(Denied::NotAdmin),
        E::Denied(Denied::UserBlocked),
        E::not_found(Missing::Resource),
        E::not_found(Missing::User),
        E::not_found(Missing::Chat),
        E::not_found(Missing::Message),
        E::not_found(Missing::Device),
        E::NotFound { what: Missing::User, message: Some("No such users: 1, 2".to_owned()) },
        E::Conflict(Conflict::State("The key was used for another message")),
        E::Conflict(Conflict::AlreadyMember),
        E::Conflict(Conflict::LastAdmin),
        E::Conflict(Conflict::GroupFull),
        E::Otp(OtpRefusal::Invalid),
        E::Otp(OtpRefusal::Expired),
        E::MediaInvalidType("Not a picture".to_owned()),
        E::TooLarge(TooLarge::Payload),
        E::TooLarge(TooLarge::Media),
        E::RateLimited { retry_after },
        E::RateLimited { retry_after: Duration::ZERO },
        E::OtpMaxAttempts { retry_after: Duration::from_secs(300) },
        E::unavailable("connection refused at secret-host"),
        E::internal("secret cause"),
    ]
}

#[tokio::test]
async fn every_error_has_its_status_and_body() {
    let mut table = String::new();
    for error in every_error() {
        let mut fixture = Fixture::default();
        fixture.users.expect_me().return_once(|_| Err(error));
        let answer = fixture.ask(request_with("GET", "/users/me", &[("authorization", "Bearer alice"), ("x-request-id", "r-1")], "")).await;
        let retry = answer.header("retry-after").map(|seconds| format!(" Retry-After: {seconds}")).unwrap_or_default();
        writeln!(table, "{}{retry}\n{}", answer.status.as_u16(), answer.text).expect("a string takes all");
    }
    assert!(!table.contains("secret"), "an internal cause was sent out");
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn a_defect_in_a_handler_is_internal_and_tells_nothing() {
    let mut fixture = Fixture::default();
    fixture.users.expect_me().returning(|_| panic!("secret state"));
    let answer = fixture.ask(request("GET", "/users/me", "")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "INTERNAL"));
    assert!(!answer.text.contains("secret"));
    assert_eq!(answer.json()["meta"]["request_id"].as_str(), answer.header("x-request-id"));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_unavailable() {
    let mut fixture = Fixture::default();
    fixture.limits.request_timeout = Duration::from_millis(10);
    let never = axum::body::Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let answer = fixture.ask(request("POST", "/sync", never)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "UNAVAILABLE"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}
