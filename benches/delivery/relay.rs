//! The measure: a WebSocket relay of a few lines. It reads JSON and forwards every frame to the other side of the pair that
//! the path names; no login, no permission, no history. On demand it syncs a log to the disk before it forwards, one
//! `fdatasync` for all frames that wait.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_websockets::{Message, Payload, ServerBuilder};

type Line = (Payload, String);
type Peers = Arc<Mutex<HashMap<String, Sender<Payload>>>>;

/// Serves on a free port, which it prints, until the process ends.
pub(crate) fn serve(log: Option<std::fs::File>) -> io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let peers = Peers::default();
        let log = log.map(|file| {
            let (lines, waiting) = channel(4096);
            let peers = Arc::clone(&peers);
            std::thread::spawn(move || commit(file, waiting, &peers));
            lines
        });
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(relay(stream, Arc::clone(&peers), log.clone()));
        }
    })
}

async fn relay(stream: TcpStream, peers: Peers, log: Option<Sender<Line>>) {
    let _ = stream.set_nodelay(true);
    let Ok((request, socket)) = ServerBuilder::new().accept(stream).await else { return };
    let (pair, side) = request.uri().path().rsplit_once('/').unwrap_or_default();
    let other = format!("{pair}/{}", if side == "a" { "b" } else { "a" });
    let (queue, mut queued) = channel(1024);
    peers.lock().unwrap_or_else(PoisonError::into_inner).insert(request.uri().path().to_owned(), queue);
    let (mut sink, mut source) = socket.split();
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while queued.recv_many(&mut batch, 256).await > 0 {
            for text in batch.drain(..) {
                if sink.feed(Message::text(text)).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
    });
    let mut peer = None;
    while let Some(Ok(message)) = source.next().await {
        let is_json = serde_json::from_slice::<serde_json::Value>(message.as_payload()).is_ok_and(|value| value["event"] == "message.send");
        if !message.is_text() || !is_json {
            continue;
        }
        let payload = message.into_payload();
        if let Some(log) = &log {
            if log.send((payload, other.clone())).await.is_err() {
                return;
            }
            continue;
        }
        if peer.is_none() {
            peer = find(&peers, &other);
        }
        if let Some(peer) = &peer {
            let _ = peer.send(payload).await;
        }
    }
}

fn find(peers: &Peers, other: &str) -> Option<Sender<Payload>> {
    peers.lock().unwrap_or_else(PoisonError::into_inner).get(other).cloned()
}

/// Writes what waits, syncs it, and only then forwards it.
fn commit(mut file: std::fs::File, mut waiting: Receiver<Line>, peers: &Peers) {
    let (mut group, mut bytes) = (Vec::new(), Vec::new());
    let mut known = HashMap::new();
    while waiting.blocking_recv_many(&mut group, 256) > 0 {
        bytes.clear();
        for (payload, _) in &group {
            bytes.extend_from_slice(payload);
            bytes.push(b'\n');
        }
        if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        for (payload, other) in group.drain(..) {
            let peer = match known.get(&other) {
                Some(peer) => peer,
                None => match find(peers, &other) {
                    Some(peer) => known.entry(other).or_insert(peer),
                    None => continue,
                },
            };
            let _ = peer.try_send(payload);
        }
    }
}
