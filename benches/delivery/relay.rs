//! The measure: a WebSocket relay of a few lines. It reads JSON and forwards every frame to all others in the room that the
//! path names, `/room/member`; no login, no permission, no history. On demand it syncs a log to the disk before it forwards,
//! one `fdatasync` for all frames that wait.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_websockets::{Message, Payload, ServerBuilder};

/// A frame, and the path it came over.
type Line = (Payload, Arc<str>);
type Peers = Arc<Mutex<HashMap<Arc<str>, Sender<Payload>>>>;

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
    let path: Arc<str> = request.uri().path().into();
    let (queue, mut queued) = channel(1024);
    peers.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&path), queue);
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
    let mut others = None;
    while let Some(Ok(message)) = source.next().await {
        let is_json = serde_json::from_slice::<serde_json::Value>(message.as_payload()).is_ok_and(|value| value["event"] == "message.send");
        if !message.is_text() || !is_json {
            continue;
        }
        let payload = message.into_payload();
        if let Some(log) = &log {
            if log.send((payload, Arc::clone(&path))).await.is_err() {
                return;
            }
            continue;
        }
        for other in others.get_or_insert_with(|| find(&peers, &path)) {
            let _ = other.send(payload.clone()).await;
        }
    }
}

/// Everybody else in the room. They have all come when the first frame does.
fn find(peers: &Peers, path: &str) -> Vec<Sender<Payload>> {
    let room = |path: &str| path.rsplit_once('/').map(|(room, _)| room.to_owned());
    let peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
    peers.iter().filter(|(other, _)| &***other != path && room(other) == room(path)).map(|(_, queue)| queue.clone()).collect()
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
        for (payload, path) in group.drain(..) {
            for other in known.entry(Arc::clone(&path)).or_insert_with(|| find(peers, &path)) {
                let _ = other.try_send(payload.clone());
            }
        }
    }
}
