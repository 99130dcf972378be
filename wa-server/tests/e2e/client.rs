//! The typed client against a real server that goes away and comes back.

use std::time::Duration;

use wa_transport::client::{Client, ConnectOptions, ServerEvent};

use crate::support::{TestServer, eventually, fresh_phone, soon};

async fn logged_in(server: &TestServer) -> Client {
    let client = Client::builder(server.url("")).build().expect("a client");
    let phone = fresh_phone();
    let code = client.request_otp(&phone).await.expect("a code").otp.expect("told");
    client.verify_otp(&phone, &code, Some("typed")).await.expect("logged in");
    client
}

#[tokio::test]
async fn it_goes_on_over_restarts_and_shows_each_message_once_and_in_order() {
    const COUNT: usize = 60;
    let server = TestServer::start().await;
    let (alice, bob) = (logged_in(&server).await, logged_in(&server).await);
    let chat = alice.create_direct(bob.me().await.unwrap().id).await.unwrap().chat_id;
    let quick = || ConnectOptions { first_wait: Duration::from_millis(20), max_wait: Duration::from_millis(100), ..ConnectOptions::default() };
    let reading = tokio::spawn({
        let connection = bob.connect_with(quick()).await.unwrap();
        async move {
            let mut got = Vec::new();
            while got.len() < COUNT {
                if let ServerEvent::Message(message) = soon("a message", connection.next()).await.unwrap() {
                    got.push(message.payload.to_value()["body"].as_str().unwrap().to_owned());
                }
            }
            connection.close().await;
            got
        }
    });
    let sending = tokio::spawn({
        let connection = alice.connect_with(quick()).await.unwrap();
        async move {
            for number in 0..COUNT {
                connection.send_text(chat, number.to_string()).await.unwrap();
            }
            connection.close().await;
        }
    });
    let mut server = server;
    for restart in 1..=3 {
        // Somewhere in the middle of it.
        let enough = i64::try_from(COUNT * restart / 5).unwrap();
        eventually("some messages", || async { (bob.chat(chat).await.ok()?.last_seq.get() >= enough).then_some(()) }).await;
        server = server.restart().await;
    }
    sending.await.unwrap();
    assert_eq!(reading.await.unwrap(), (0..COUNT).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(bob.chat(chat).await.unwrap().last_seq.get(), i64::try_from(COUNT).unwrap(), "nothing was stored twice");
    server.stop().await;
}

#[tokio::test]
async fn it_refreshes_its_tokens_by_itself_until_the_session_ends() {
    let (server, clock) = TestServer::with_clock(|_| {}).await;
    let alice = logged_in(&server).await;
    let before = alice.tokens().unwrap().access_token;
    clock.advance(Duration::from_secs(901));
    alice.me().await.unwrap();
    assert_ne!(alice.tokens().unwrap().access_token, before);
    // Many calls at once that all find the token expired are one refresh, or the server would see reuse.
    clock.advance(Duration::from_secs(901));
    for answer in futures_util::future::join_all((0..10).map(|_| alice.me())).await {
        answer.unwrap();
    }
    clock.advance(Duration::from_secs(31 * 86_400));
    assert!(matches!(alice.me().await, Err(wa_transport::client::ClientError::SessionEnded)));
}
