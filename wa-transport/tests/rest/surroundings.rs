//! What happens around every request.

use crate::support::*;

#[tokio::test]
async fn health_says_alive_without_an_envelope() {
    let answer = Fixture::default().ask(anonymous("GET", "!/health", "")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, r#"{"status":"alive"}"#));
}
