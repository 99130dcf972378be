//! Disks that are full, cannot be written, or fail to sync or read: nothing is acknowledged that is not stored, reading
//! goes on, everything is answered in time, and the server recovers without a restart.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_websockets::{ClientBuilder, Message};

use crate::machine::{ANSWER_WITHIN, Fault, Machine, Person};

/// What goes wrong with the disk.
enum Trouble {
    /// The shim makes operations fail.
    Shim(Fault),
    /// A small file system that is filled up for real; where the filling lies.
    Full(PathBuf),
}

/// A small file system of its own, if this user may mount one.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(&path).output().ok()?.status.success();
        mounted.then_some(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

impl Trouble {
    fn begin(&self, machine: &Machine) {
        match self {
            Self::Shim(fault) => machine.set(*fault, true),
            Self::Full(filling) => {
                let mut file = std::fs::File::create(filling).unwrap();
                while file.write_all(&[0; 4096]).is_ok() {}
            }
        }
    }

    fn end(&self, machine: &Machine) {
        match self {
            Self::Shim(fault) => machine.set(*fault, false),
            Self::Full(filling) => std::fs::remove_file(filling).unwrap(),
        }
    }
}

/// A conversation, and what was acknowledged of it.
struct Talk {
    alice: Person,
    chat: String,
    acknowledged: Vec<(i64, String, String)>,
    sent: usize,
}

impl Talk {
    /// Sends one more; whether it was acknowledged, or else refused as unavailable.
    async fn say(&mut self) -> bool {
        self.sent += 1;
        let text = format!("message {} {}", self.sent, "x".repeat(2000));
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.alice.say(&self.chat, &text)).await.expect("an answer in time").expect("a server");
        match answer {
            Ok((seq, id)) => {
                self.acknowledged.push((seq, id, text));
                true
            }
            Err(status) => {
                assert_eq!(status, 503);
                false
            }
        }
    }

    /// Compares what the server has with what it acknowledged.
    async fn compare(&self, machine: &Machine) {
        let path = format!("/api/v1/chats/{}/messages?limit=100", self.chat);
        let answer = tokio::time::timeout(ANSWER_WITHIN, machine.get(Some(&self.alice.token), &path, None)).await.expect("an answer in time");
        let mut stored: Vec<(i64, String, String)> = answer["messages"].as_array().unwrap().iter().map(of_message).collect();
        stored.sort();
        assert!(stored.len() < 100, "all on one page");
        assert_eq!(stored.iter().map(|message| message.0).collect::<Vec<_>>(), (1..=stored.len() as i64).collect::<Vec<_>>(), "no gap");
        for message in &self.acknowledged {
            assert!(stored.contains(message), "seq {} was acknowledged and is lost", message.0);
        }
    }
}

fn of_message(message: &Value) -> (i64, String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (message["seq"].as_i64().unwrap(), text(&message["message_id"]), text(&message["payload"]["body"]))
}

/// The code of the error a send over a socket is answered with.
async fn refusal_over_socket(machine: &Machine, talk: &Talk) -> Value {
    let url = machine.url("ws", &format!("/ws?token={}", talk.alice.token));
    let (mut socket, _) = ClientBuilder::new().uri(&url).unwrap().connect().await.unwrap();
    let data = json!({ "chat_id": talk.chat, "client_msg_id": uuid::Uuid::new_v4().to_string(), "type": "text", "payload": { "body": "hello" } });
    socket.send(Message::text(json!({ "event": "message.send", "data": data, "req_id": "1" }).to_string())).await.unwrap();
    let answer = async {
        loop {
            let frame = socket.next().await.expect("a frame").expect("an open socket");
            let Some(text) = frame.as_text() else { continue };
            let frame: Value = serde_json::from_str(text).unwrap();
            if frame["req_id"] == "1" {
                return frame;
            }
        }
    };
    tokio::time::timeout(ANSWER_WITHIN, answer).await.expect("an answer in time")
}

async fn ready(machine: &Machine) -> (u16, Value) {
    tokio::time::timeout(ANSWER_WITHIN, machine.ask(None, "/ready", None)).await.expect("an answer in time").expect("a server")
}

/// Everything that must hold before, in and after trouble in which nothing can be written.
async fn endure(trouble: &Trouble, machine: &mut Machine) {
    machine.start().await;
    let (alice, bob) = (machine.login(1).await, machine.login(2).await);
    let chat = alice.chat_with(&bob).await;
    let mut talk = Talk { alice, chat, acknowledged: Vec::new(), sent: 0 };
    for _ in 0..10 {
        assert!(talk.say().await);
    }
    assert_eq!(ready(machine).await.0, 200);
    for _ in 0..2 {
        trouble.begin(machine);
        // A log that begins anew has room for a few more.
        let mut accepted = 0;
        while talk.say().await {
            accepted += 1;
            assert!(accepted < 30, "the trouble does not show");
        }
        for _ in 0..3 {
            assert!(!talk.say().await, "once there is no way to store there is none");
        }
        talk.compare(machine).await;
        let refused = refusal_over_socket(machine, &talk).await;
        assert_eq!((&refused["event"], &refused["data"]["code"]), (&json!("error"), &json!(5003)), "{refused}");
        let (status, state) = ready(machine).await;
        assert_eq!((status, &state["status"]["database"]), (503, &json!("unavailable")), "{state}");
        trouble.end(machine);
        assert!(talk.say().await, "it goes on as soon as the disk does");
        assert_eq!(ready(machine).await.0, 200);
        talk.compare(machine).await;
    }
    machine.kill();
    machine.start().await;
    assert!(talk.say().await);
    talk.compare(machine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers() {
    let mut machine = Machine::failing();
    // Unmounted before the folder is removed.
    let mounted = Mounted::at(machine.root().to_owned());
    let trouble = match &mounted {
        Some(_) => Trouble::Full(machine.root().join("filling")),
        None => {
            eprintln!("no file system can be mounted here; the shim says that the disk is full");
            Trouble::Shim(Fault::NoSpace)
        }
    };
    endure(&trouble, &mut machine).await;
    machine.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_a_part_of_a_write_refuses_and_recovers() {
    endure(&Trouble::Shim(Fault::NoSpace), &mut Machine::failing()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_became_read_only_refuses_and_recovers() {
    endure(&Trouble::Shim(Fault::ReadOnly), &mut Machine::failing()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_to_sync_refuses_and_recovers() {
    endure(&Trouble::Shim(Fault::Sync), &mut Machine::failing()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_read_answers_in_time_and_recovers() {
    let mut machine = Machine::failing();
    machine.start().await;
    let (alice, bob) = (machine.login(1).await, machine.login(2).await);
    let chat = alice.chat_with(&bob).await;
    let mut talk = Talk { alice, chat, acknowledged: Vec::new(), sent: 0 };
    for _ in 0..10 {
        assert!(talk.say().await);
    }
    // Nothing is in any cache of the next process.
    machine.kill();
    machine.start().await;
    machine.set(Fault::Read, true);
    let said = tokio::time::timeout(ANSWER_WITHIN, talk.alice.say(&talk.chat, "hello")).await.expect("an answer in time").expect("a server");
    assert!(matches!(said, Ok(_) | Err(500 | 503)), "{said:?}");
    let path = format!("/api/v1/chats/{}/messages?limit=100", talk.chat);
    let asked = machine.ask(Some(&talk.alice.token), &path, None);
    let (status, answer) = tokio::time::timeout(ANSWER_WITHIN, asked).await.expect("an answer in time").expect("a server");
    // SQLite says of a page it cannot read that the file is damaged, and so it may well be.
    assert!(matches!((status, answer["error"]["code"].as_str()), (503, Some("UNAVAILABLE")) | (500, Some("INTERNAL"))), "{answer}");
    assert_eq!(ready(&machine).await.0, 503);
    machine.set(Fault::Read, false);
    assert!(talk.say().await, "it goes on as soon as the disk does");
    assert_eq!(ready(&machine).await.0, 200);
    talk.compare(&machine).await;
}
