//! Starting, stopping, starting again, and what keeps a server from starting (contract, section 8).

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wa_server::{Config, Server, StartError};

use crate::support::{TestServer, config, soon};

#[tokio::test]
async fn shutting_down_tells_sockets_1001_and_loses_nothing() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    b.settle().await;
    for number in 0..20 {
        a.say(&chat, &number.to_string()).await;
    }
    let stopping = tokio::spawn(server.stop());
    assert_eq!(a.close_code().await, 1001);
    assert_eq!(b.close_code().await, 1001);
    let (config, data) = stopping.await.unwrap();
    let refused = tokio::net::TcpStream::connect(config.server.bind).await;
    assert!(refused.is_err(), "nothing listens any more");

    let _server = TestServer::run(config, data, |builder| builder).await;
    // Tokens hold on, and the clients resume.
    assert_eq!(alice.texts(&chat).await.len(), 20);
    let mut b = bob.connect().await;
    for number in 0..20 {
        assert_eq!(b.expect("message.new").await["payload"]["body"], number.to_string(), "what was not confirmed comes again");
    }
    let mut a = alice.connect().await;
    assert_eq!(a.say(&chat, "after").await["seq"], 21);
    assert_eq!(b.expect("message.new").await["seq"], 21);
}

#[tokio::test]
async fn what_was_acknowledged_before_the_stop_is_there_after_it() {
    let server = TestServer::start().await;
    let (alice, _bob, chat) = server.couple().await;
    let sending = tokio::spawn({
        let (alice, chat) = (alice.clone(), chat.clone());
        async move {
            let mut a = alice.connect().await;
            let mut acknowledged = 0;
            loop {
                let id = format!("m{acknowledged}");
                a.send("message.send", json!({ "chat_id": chat, "client_msg_id": id, "type": "text", "payload": { "body": id } })).await;
                loop {
                    match a.next().await {
                        Some(frame) if frame["event"] == "message.sent" => break acknowledged += 1,
                        Some(_) => {}
                        None => return acknowledged,
                    }
                }
                if acknowledged == 10_000 {
                    return acknowledged;
                }
            }
        }
    });
    // Some are under way when the stop comes.
    crate::support::eventually("some messages", || async { (alice.texts(&chat).await.len() >= 10).then_some(()) }).await;
    let (config, data) = server.stop().await;
    let acknowledged: usize = soon("the sender's end", sending).await.unwrap();
    let _server = TestServer::run(config, data, |builder| builder).await;
    let stored = alice.get(&format!("/chats/{chat}")).await.ok(200)["last_seq"].as_u64().unwrap();
    assert!(stored >= acknowledged as u64, "{acknowledged} were acknowledged, {stored} are stored");
    assert!(stored <= acknowledged as u64 + 1, "one at the most was stored and not acknowledged");
}

#[tokio::test]
async fn a_request_in_hand_is_answered_before_the_end() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"display_name":"Alice"}"#;
    let head = format!(
        "PATCH /api/v1/users/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        alice.access,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: the request is in hand.
    let mut go_on = [0; 25];
    soon("100 Continue", stream.read_exact(&mut go_on)).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    let stopping = tokio::spawn(server.stop());
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_hold_up_the_end() {
    let server = TestServer::with(|config| config.server.shutdown_grace = std::time::Duration::from_millis(500)).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /api/v1/auth/refresh HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    server.stop().await;
}

/// Why a server of this configuration does not start.
async fn refusal(config: Config) -> StartError {
    match Server::builder(config).bind().await {
        Ok(_) => panic!("the server started"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_port_in_use_is_told_and_nothing_is_touched() {
    let server = TestServer::start().await;
    let data = tempfile::tempdir().unwrap();
    let mut second = config(&data);
    second.server.bind = server.address;
    let error = refusal(second).await;
    assert!(matches!(error, StartError::PortInUse(address) if address == server.address), "{error:?}");
    assert!(error.to_string().contains(&format!("port {} is in use: pass --port", server.address.port())), "{error}");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_database_that_is_open_elsewhere_is_refused() {
    let server = TestServer::start().await;
    let mut second = server.config.clone();
    second.server.bind.set_port(0);
    let error = refusal(second).await.to_string();
    assert!(error.contains("in use by another process"), "{error}");
    server.somebody().await;
}

#[tokio::test]
async fn a_corrupt_database_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let garbage = vec![0x5a; 64 << 10];
    std::fs::write(data.path().join("wa.db"), &garbage).unwrap();
    let error = refusal(config(&data)).await.to_string();
    assert!(error.contains("wa.db is damaged or no SQLite database"), "{error}");
    assert_eq!(std::fs::read(data.path().join("wa.db")).unwrap(), garbage);
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_told() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("file"), "").unwrap();
    let mut broken = config(&data);
    broken.server.data_dir = data.path().join("file").join("below");
    let error = refusal(broken).await.to_string();
    assert!(error.contains("cannot make the data directory") && error.contains("--data-dir"), "{error}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_told() {
    let data = tempfile::tempdir().unwrap();
    let mut broken = config(&data);
    broken.server.bind = "192.0.2.1:0".parse().unwrap();
    let error = refusal(broken).await.to_string();
    assert!(error.contains("cannot listen on 192.0.2.1:0") && error.contains("--bind"), "{error}");
}

#[tokio::test]
async fn exposed_secrets_are_refused() {
    let (config, data) = TestServer::start().await.stop().await;
    let path = data.path().join("secrets.toml");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = refusal(config).await.to_string();
    assert!(error.contains("chmod 600"), "{error}");
}
