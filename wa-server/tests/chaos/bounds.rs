//! Readers that stop reading while messages flow: the server ends them with 4008 rather than to queue without bound, others do
//! not notice, and later they get everything. `WA_BOUND_READERS` and `WA_BOUND_SECONDS` are how many and how long.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use crate::embedded::{Person, Socket};
use crate::scene::{Order, history, integer, order_of, sync, take};
use crate::support::{Random, Site, number, seed};

const QUEUE: u64 = 64 << 10;
const A_SECOND: u64 = 200;
const CONFIG: &str = "[limits]\nenabled = false\nws_queue_bytes = \"64KB\"\nws_write_timeout = \"5m\"\nws_idle = \"20m\"\nws_ping = \"10m\"\n[auth]\naccess_ttl = \"24h\"\n[dev]\necho_otp = true\n[telemetry]\nlog_level = \"warn\"\n";

/// A connection for which the systems' own buffers hold little, so that what is not read waits in the server.
pub(crate) async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
    socket.connect(address).await.unwrap()
}

/// Logs a phone in on a new device.
pub(crate) async fn login(site: &Site, phone: &str) -> Person {
    let code = site.get(None, "/auth/request-otp", Some(&json!({ "phone": phone }))).await;
    let login = site.get(None, "/auth/verify-otp", Some(&json!({ "phone": phone, "otp": code["otp"], "device_name": "Test" }))).await;
    Person::of(site.address, phone, &login)
}

/// Bytes of a process' memory.
pub(crate) fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_reading_cost_only_themselves() {
    let readers = number("WA_BOUND_READERS").unwrap_or(80);
    let messages = i64::try_from(number("WA_BOUND_SECONDS").unwrap_or(3) * A_SECOND).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let planted = std::env::var("WA_PLANTED").ok().map(|defect| &*defect.leak());
    let mut random = Random::new(seed());
    let site = Site::new(folder.path(), planted, &mut random);
    std::fs::write(folder.path().join("wa.toml"), CONFIG).unwrap();
    let run = site.start(None);

    let (alice, bob) = (login(&site, "+15553000001").await, login(&site, "+15553000002").await);
    let chat = alice.chat_with(&bob).await;
    let mut stopped = Vec::new();
    for _ in 0..readers {
        let device = login(&site, "+15553000002").await;
        let url = format!("ws://{}/ws?token={}", device.address, device.access);
        let mut socket = Socket::over(narrow(device.address).await, &url).await;
        socket.settle().await;
        stopped.push((device, socket));
    }
    let mut healthy = bob.connect().await;
    healthy.settle().await;
    let mut sender = alice.connect().await;
    // What every process needs once is not growth.
    sender.say(&chat, "first").await;
    let before = resident(run.id());

    let listening = tokio::spawn(async move {
        let mut newest = 0;
        while newest <= messages {
            let seq = integer(&healthy.expect("message.new").await["seq"]);
            assert_eq!(seq, newest + 1, "a healthy client misses a message");
            newest = seq;
        }
    });
    let (mut tick, mut most, body) = (tokio::time::interval(Duration::from_micros(1_000_000 / A_SECOND)), 0, "x".repeat(1000));
    for number in 0..messages {
        tick.tick().await;
        sender.say(&chat, &body).await;
        sender.passed_over.clear();
        if number % 20 == 0 {
            most = most.max(resident(run.id()));
        }
    }
    listening.await.expect("healthy clients are not affected");
    let (grown, bound) = (most.saturating_sub(before), readers * QUEUE);
    println!("bounds: {readers} stopped readers, {messages} messages: memory grew by {} KB, the queues may hold {} KB", grown >> 10, bound >> 10);
    // The database's and the allocator's own buffers are still growing in a process this young.
    assert!(grown <= bound + (32 << 20), "memory grew by {grown} bytes");

    let stored = order_of(&history(&alice, &chat, 0).await);
    for (number, (device, mut socket)) in stopped.into_iter().enumerate() {
        assert_eq!(socket.close_code().await, 4008, "a reader that stopped");
        let mut got = Order::new();
        for message in socket.passed("message.new") {
            take(&mut got, message);
        }
        let newest = i64::try_from(got.len()).unwrap();
        assert!(got.keys().copied().eq(1..=newest) && newest < messages, "a gap before the end of the connection");
        // Each gets all of it; that takes long, so that the short form asks for some of them.
        if readers >= 1000 || number % 8 == 0 {
            let mut known = BTreeMap::from([(chat.clone(), newest)]);
            for item in sync(&device, &mut known).await {
                item["messages"].as_array().expect("messages").iter().for_each(|message| take(&mut got, message));
            }
            assert_eq!(got, stored, "what a stopped reader has in the end");
        }
    }
    run.kill().await;
}
