//! The client against a server that misbehaves on demand: lost events, broken sockets, expired tokens, ended sessions.

mod mock;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use serde_json::json;
use wa_core::id::ChatId;
use wa_transport::client::{BoxError, Client, ClientError, ConnectOptions, Connection, Outgoing, Retry, ServerEvent, Start, State, TokenStore, Tokens};

use crate::mock::{BOB, CHAT, ME, Mock, Socket, soon};

fn tokens() -> Tokens {
    Tokens { access_token: "access-0".to_owned(), refresh_token: Some("refresh-0".to_owned()), refresh_key: "key-0".to_owned() }
}

fn client(mock: &Mock) -> Client {
    let retry = Retry { attempts: 3, first_wait: Duration::from_millis(1), max_wait: Duration::from_millis(5) };
    Client::builder(mock.url()).tokens(tokens()).retry(retry).build().expect("a client")
}

fn chat() -> ChatId {
    CHAT.parse().expect("an id")
}

fn options(start: Start) -> ConnectOptions {
    ConnectOptions { start, first_wait: Duration::from_millis(1), max_wait: Duration::from_millis(20), ..ConnectOptions::default() }
}

/// A connection from the beginning of the chat, and the server's end of it.
async fn connect(mock: &Mock) -> (Connection, Socket) {
    connect_from(mock, State::default()).await
}

async fn connect_from(mock: &Mock, state: State) -> (Connection, Socket) {
    let client = client(mock);
    let (connection, socket) = tokio::join!(client.connect_with(options(Start::Resume(state))), mock.socket());
    (connection.expect("connected"), socket)
}

/// The bodies of the next messages.
async fn bodies(connection: &Connection, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        if let ServerEvent::Message(message) = soon("an event", connection.next()).await.expect("an event") {
            bodies.push(message.payload.to_value()["body"].as_str().expect("a body").to_owned());
        }
    }
    bodies
}

async fn until_connected_again(connection: &Connection) {
    while !matches!(soon("an event", connection.next()).await.expect("an event"), ServerEvent::Disconnected { .. }) {}
    while !matches!(soon("an event", connection.next()).await.expect("an event"), ServerEvent::Connected) {}
}

#[tokio::test]
async fn a_message_whose_event_was_lost_is_fetched_and_told_in_its_place() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    let messages = ["one", "two", "three"].map(|body| mock.append(BOB, body, body));
    socket.say("message.new", &messages[0], None).await;
    socket.say("message.new", &messages[2], None).await;
    socket.say("message.new", &messages[0], None).await;
    assert_eq!(bodies(&connection, 3).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn what_happened_while_the_socket_was_broken_is_told_once_after_it() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    let first = mock.append(BOB, "1", "one");
    socket.say("message.new", &first, None).await;
    assert_eq!(bodies(&connection, 1).await, ["one"]);
    socket.close(4008).await;
    mock.append(BOB, "2", "two");
    let mut socket = mock.socket().await;
    // The server pushes what it believes to be undelivered, too.
    socket.say("message.new", &first, None).await;
    let third = mock.append(BOB, "3", "three");
    socket.say("message.new", &third, None).await;
    assert_eq!(bodies(&connection, 2).await, ["two", "three"]);
}

#[tokio::test]
async fn a_message_without_an_answer_is_sent_again_under_its_key_and_told_once() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    let sending = tokio::spawn({
        let connection = connection.clone();
        async move { connection.send(chat(), Outgoing::text("hello").with_key("my key")).await }
    });
    let frame = socket.expect("message.send").await;
    assert_eq!(frame["data"]["client_msg_id"], "my key");
    // It is stored, but the answer is lost with the socket.
    let stored = mock.append(ME, "my key", "hello");
    drop(socket);
    let mut socket = mock.socket().await;
    let again = socket.expect("message.send").await;
    assert_eq!(again["data"], frame["data"]);
    socket.accept(&again, &stored).await;
    let sent = sending.await.expect("no panic").expect("sent");
    assert_eq!(sent.seq.get(), 1);
    let next = mock.append(BOB, "2", "and you?");
    socket.say("message.new", &next, None).await;
    assert_eq!(bodies(&connection, 2).await, ["hello", "and you?"]);
}

#[tokio::test]
async fn own_messages_are_told_in_their_place_without_fetching() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    while mock.calls("sync").is_empty() {
        tokio::task::yield_now().await;
    }
    for (count, body) in ["one", "two", "three"].into_iter().enumerate() {
        let (sent, ()) = tokio::join!(connection.send_text(chat(), body), async {
            let frame = socket.expect("message.send").await;
            let stored = mock.append(ME, frame["data"]["client_msg_id"].as_str().expect("a key"), body);
            socket.accept(&frame, &stored).await;
        });
        assert_eq!(sent.expect("sent").seq.get(), count as i64 + 1);
    }
    assert_eq!(bodies(&connection, 3).await, ["one", "two", "three"]);
    assert_eq!(mock.calls("history").len(), 0);
}

#[tokio::test]
async fn the_servers_refusal_is_the_answer() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    let (sent, ()) = tokio::join!(connection.send_text(chat(), "hello"), async {
        let frame = socket.expect("message.send").await;
        let refusal = json!({"code": 4003, "name": "USER_BLOCKED", "message": "You have blocked this user"});
        socket.say("error", &refusal, Some(&frame["req_id"])).await;
    });
    assert_eq!(sent.expect_err("refused").code(), Some("USER_BLOCKED"));
}

#[tokio::test]
async fn messages_are_acknowledged_when_they_are_handed_over() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    let message = mock.append(BOB, "1", "one");
    socket.say("message.new", &message, None).await;
    bodies(&connection, 1).await;
    let frame = socket.expect_any().await;
    assert_eq!((frame["event"].as_str(), &frame["data"]["message_ids"]), (Some("message.delivered"), &json!([message["message_id"]])));
}

#[tokio::test]
async fn a_user_who_takes_nothing_for_long_loses_nothing() {
    const COUNT: usize = 5000;
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    for number in 0..COUNT {
        let message = mock.append(BOB, &number.to_string(), &number.to_string());
        socket.say("message.new", &message, None).await;
    }
    let expected: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&connection, COUNT).await, expected);
}

#[tokio::test]
async fn a_later_connection_resumes_where_the_first_one_was_left() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    for body in ["one", "two", "three"] {
        let message = mock.append(BOB, body, body);
        socket.say("message.new", &message, None).await;
    }
    assert_eq!(bodies(&connection, 2).await, ["one", "two"]);
    let state = serde_json::to_string(&connection.state()).expect("encodes");
    tokio::join!(connection.close(), socket.closed());
    assert!(matches!(connection.send_text(chat(), "late").await, Err(ClientError::Closed)));
    mock.append(BOB, "4", "four");
    let (connection, _socket) = connect_from(&mock, serde_json::from_str(&state).expect("decodes")).await;
    assert_eq!(bodies(&connection, 2).await, ["three", "four"]);
}

#[tokio::test]
async fn subscriptions_are_renewed_on_every_socket() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    let bob = BOB.parse().expect("an id");
    let watched = [bob];
    let (watching, ()) = tokio::join!(connection.watch(&watched), async {
        let frame = socket.expect("presence.subscribe").await;
        socket.say("ack", &json!({}), Some(&frame["req_id"])).await;
    });
    watching.expect("acknowledged");
    drop(socket);
    let mut socket = mock.socket_raw().await;
    let frame = socket.expect("presence.subscribe").await;
    assert_eq!(frame["data"]["user_ids"], json!([BOB]));
}

#[tokio::test]
async fn connecting_elsewhere_ends_the_connection_with_its_own_error() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    socket.close(4010).await;
    let error = loop {
        if let Err(error) = soon("an event", connection.next()).await {
            break error;
        }
    };
    assert!(matches!(error, ClientError::ConnectedElsewhere), "{error}");
    assert!(matches!(connection.send_text(chat(), "late").await, Err(ClientError::ConnectedElsewhere)));
}

#[tokio::test]
async fn a_socket_closed_for_its_token_comes_back_with_a_new_one() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    mock.expire_token();
    socket.close(4001).await;
    let mut socket = mock.socket().await;
    let message = mock.append(BOB, "1", "one");
    socket.say("message.new", &message, None).await;
    assert_eq!(bodies(&connection, 1).await, ["one"]);
    assert_eq!(mock.calls("refresh"), [Some("key-0".to_owned())]);
}

#[tokio::test]
async fn an_ended_session_ends_the_connection_with_its_own_error() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    mock.end_session();
    socket.close(4001).await;
    let error = loop {
        if let Err(error) = soon("an event", connection.next()).await {
            break error;
        }
    };
    assert!(matches!(error, ClientError::SessionEnded), "{error}");
}

#[tokio::test]
async fn a_server_that_goes_away_is_waited_for() {
    let mock = Mock::start().await;
    let (connection, mut socket) = connect(&mock).await;
    socket.close(1001).await;
    let _socket = mock.socket().await;
    until_connected_again(&connection).await;
}

#[tokio::test]
async fn dropping_the_connection_closes_its_socket() {
    let mock = Mock::start().await;
    let (connection, socket) = connect(&mock).await;
    drop(connection);
    socket.closed().await;
}

/// Remembers what was stored, and how.
#[derive(Default)]
struct Remembering {
    stored: Mutex<Vec<Tokens>>,
}

#[async_trait]
impl TokenStore for Remembering {
    async fn load(&self) -> Result<Option<Tokens>, BoxError> {
        Ok(self.stored.lock().unwrap_or_else(PoisonError::into_inner).last().cloned())
    }

    async fn save(&self, tokens: &Tokens) -> Result<(), BoxError> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).push(tokens.clone());
        Ok(())
    }

    async fn clear(&self) -> Result<(), BoxError> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}

#[tokio::test]
async fn an_expired_token_is_exchanged_once_for_many_calls_and_stored() {
    let mock = Mock::start().await;
    let store = Arc::new(Remembering::default());
    store.save(&tokens()).await.expect("stored");
    let client = Client::builder(mock.url()).token_store(store.clone()).build().expect("a client");
    client.me().await.expect("the first token is good");
    mock.expire_token();
    let (a, b, c) = tokio::join!(client.me(), client.me(), client.me());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(mock.calls("refresh").len(), 1);
    let stored = store.load().await.expect("loads").expect("there");
    assert_eq!((stored.access_token.as_str(), stored.refresh_token.as_deref()), ("access-1", Some("refresh-1")));
    assert!(!stored.refresh_key.is_empty() && stored.refresh_key != "key-0", "the next exchange has a key of its own");
}

#[tokio::test]
async fn an_exchange_made_by_another_process_is_taken_over() {
    let mock = Mock::start().await;
    let store = Arc::new(Remembering::default());
    store.save(&tokens()).await.expect("stored");
    let client = Client::builder(mock.url()).token_store(store.clone()).build().expect("a client");
    client.me().await.expect("the first token is good");
    mock.expire_token();
    store.save(&Tokens::access_only("access-1")).await.expect("stored");
    client.me().await.expect("the other process's token is good");
    assert_eq!(mock.calls("refresh").len(), 0);
}

#[tokio::test]
async fn an_exchange_that_is_repeated_has_the_same_key() {
    let mock = Mock::start().await;
    let client = client(&mock);
    mock.expire_token();
    mock.fail_refresh(StatusCode::SERVICE_UNAVAILABLE);
    client.me().await.expect("the second attempt succeeds");
    assert_eq!(mock.calls("refresh"), [Some("key-0".to_owned()), Some("key-0".to_owned())]);
}

#[tokio::test]
async fn a_call_is_repeated_while_the_server_is_unavailable_and_not_for_ever() {
    let mock = Mock::start().await;
    let client = client(&mock);
    mock.fail([StatusCode::SERVICE_UNAVAILABLE; 2]);
    client.me().await.expect("the third attempt succeeds");
    mock.fail([StatusCode::SERVICE_UNAVAILABLE; 3]);
    assert!(client.me().await.expect_err("there is no fourth").is_unavailable());
    assert_eq!(mock.calls("me").len(), 6);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_from_one_that_refuses() {
    let mock = Mock::start().await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let retry = Retry { attempts: 1, ..Retry::default() };
    let nobody = Client::builder(format!("http://{gone}")).tokens(tokens()).retry(retry).build().expect("a client");
    assert!(matches!(nobody.me().await, Err(ClientError::Transport(_))));
    mock.end_session();
    assert!(matches!(client(&mock).me().await, Err(ClientError::SessionEnded)));
    let anonymous = Client::builder(mock.url()).build().expect("a client");
    assert!(matches!(anonymous.me().await, Err(ClientError::NotLoggedIn)));
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    for bad in ["", "127.0.0.1:8080", "ftp://x", "http://", "http://x/?a=b", "http://user@x"] {
        assert!(matches!(Client::builder(bad).build(), Err(ClientError::Invalid(_))), "{bad}");
    }
    assert!(Client::builder("http://x:1/under/a/path/").build().is_ok_and(|client| client.base_url() == "http://x:1/under/a/path"));
}
