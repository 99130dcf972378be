//! Access tokens that are forged, altered or out of date (contract, sections 7 and 10).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use wa_server::Secret;

use crate::support::{Person, Socket, TestServer};

const SECRET: &str = "a secret of the tests, long enough to be one";

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Value, claims: &Value, secret: &str) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("every length");
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}

async fn ask(person: &Person, token: &str) -> crate::support::Answer {
    Person { access: token.to_owned(), ..person.clone() }.get("/users/me").await
}

#[tokio::test]
async fn a_token_says_what_the_contract_lists() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let claims = claims_of(&alice.access);
    assert_eq!((claims["sub"].as_str(), claims["user_id"].as_str()), (Some(alice.id.as_str()), Some(alice.id.as_str())));
    assert_eq!((claims["phone"].as_str(), claims["sid"].as_str()), (Some(alice.phone.as_str()), Some(alice.device.as_str())));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
    assert!(claims["iss"].is_string() && claims["jti"].is_string());
}

#[tokio::test]
async fn forged_and_altered_tokens_are_invalid_everywhere() {
    let server = TestServer::with(|config| config.auth.jwt_secret = Some(Secret::new(SECRET))).await;
    let alice = server.somebody().await;
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let claims = claims_of(&alice.access);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    // The forger's tool works: with the right secret and claims the token is taken.
    ask(&alice, &signed(&header, &claims, SECRET)).await.ok(200);

    let (head, tail) = alice.access.rsplit_once('.').expect("a signature");
    let stranger = server.somebody().await;
    let forged = [
        ("alg none", format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(&claims))),
        ("alg none with a signature", format!("{}.{}.{tail}", part(&json!({ "alg": "none" })), part(&claims))),
        ("HS512 in name", signed(&json!({ "alg": "HS512", "typ": "JWT" }), &claims, SECRET)),
        ("RS256 in name", signed(&json!({ "alg": "RS256", "typ": "JWT" }), &claims, SECRET)),
        ("another secret", signed(&header, &claims, "another secret, also long enough to be one")),
        ("no secret", signed(&header, &claims, "")),
        ("no signature", format!("{head}.")),
        ("another's signature", format!("{head}.{}", stranger.access.rsplit_once('.').expect("a signature").1)),
        ("another issuer", signed(&header, &with("iss", json!("somebody else")), SECRET)),
        ("no issuer", signed(&header, &without("iss"), SECRET)),
        ("no session", signed(&header, &without("sid"), SECRET)),
        ("no expiry", signed(&header, &without("exp"), SECRET)),
        ("an expiry that is text", signed(&header, &with("exp", json!("never")), SECRET)),
        ("no subject", signed(&header, &without("sub"), SECRET)),
        ("an unknown session", signed(&header, &with("sid", json!(uuid::Uuid::new_v4().to_string())), SECRET)),
        ("another's session", signed(&header, &with("sid", json!(stranger.device)), SECRET)),
        ("another user", signed(&header, &with("sub", json!(stranger.id)), SECRET)),
        ("another user in the second claim", signed(&header, &with("user_id", json!(stranger.id)), SECRET)),
        ("an id that is none", signed(&header, &with("sub", json!("me")), SECRET)),
        ("claims that are no object", signed(&header, &json!([1]), SECRET)),
        ("nonsense", "nonsense".to_owned()),
        ("dots", "..".to_owned()),
        ("very long", "a.".repeat(5000)),
        ("a refresh token", alice.refresh.clone()),
    ];
    for (what, token) in &forged {
        let answer = ask(&alice, token).await;
        assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (401, Some("TOKEN_INVALID")), "{what}: {}", answer.text);
    }
    for (what, token) in &forged[..6] {
        let mut socket = Socket::connect(&format!("ws://{}/ws?token={token}", server.address)).await;
        assert_eq!(socket.close_code().await, 4001, "{what}");
    }
    let expired = signed(&header, &with("exp", json!(claims["iat"])), SECRET);
    ask(&alice, &expired).await.refused(401, "TOKEN_EXPIRED");
    let altered = signed(&header, &with("exp", json!(claims["iat"])), "another secret, also long enough to be one");
    ask(&alice, &altered).await.refused(401, "TOKEN_INVALID");
}

#[tokio::test]
async fn a_rotated_signing_secret_still_verifies_and_a_dropped_one_does_not() {
    let server = TestServer::with(|config| config.auth.jwt_secret = Some(Secret::new(SECRET))).await;
    let alice = server.somebody().await;
    let (mut changed, data) = server.stop().await;
    changed.auth.jwt_secret = Some(Secret::new("the next secret, which is long enough as well"));
    changed.auth.jwt_previous_secrets = vec![Secret::new(SECRET)];
    let server = TestServer::run(changed, data, |builder| builder).await;
    alice.get("/users/me").await.ok(200);
    let (mut changed, data) = server.stop().await;
    changed.auth.jwt_previous_secrets.clear();
    let _server = TestServer::run(changed, data, |builder| builder).await;
    alice.get("/users/me").await.refused(401, "TOKEN_INVALID");
}

#[tokio::test]
async fn the_signing_secret_is_made_once_per_data_directory() {
    let (one, two) = (TestServer::start().await, TestServer::start().await);
    let alice = one.somebody().await;
    Person { address: two.address, ..alice.clone() }.get("/users/me").await.refused(401, "TOKEN_INVALID");
    let _one = one.restart().await;
    alice.get("/users/me").await.ok(200);
}

#[tokio::test]
async fn the_authorization_header_is_read_strictly() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let ask = |value: String| crate::support::Answer::of(crate::support::http().get(server.url("/api/v1/users/me")).header("Authorization", value));
    ask(format!("bearer {}", alice.access)).await.ok(200);
    for value in [format!("Basic {}", alice.access), "Bearer".to_owned(), "Bearer ".to_owned(), alice.access.clone()] {
        ask(value).await.refused(401, "UNAUTHORIZED");
    }
}
