//! What uploads cost the server's memory: one of 100 MB, and fifty of 16 MB at once. `WA_UPLOADS` is how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::multipart::{Form, Part};

use crate::bounds::{login, resident};
use crate::embedded::{Answer, Person};
use crate::support::{Random, Run, Site, number, seed};

const CONFIG: &str = "[limits]\nenabled = false\n[auth]\naccess_ttl = \"24h\"\n[dev]\necho_otp = true\n[telemetry]\nlog_level = \"warn\"\n";
const MB: u64 = 1 << 20;

/// So many bytes of text, made as they are sent.
fn text(size: u64) -> Part {
    let line = Bytes::from("a line of a file that is nothing but text\n".repeat(1024));
    let pieces = stream::unfold(size, move |left| {
        let piece = line.slice(..line.len().min(usize::try_from(left).unwrap()));
        async move { (!piece.is_empty()).then(|| (Ok::<_, std::io::Error>(piece.clone()), left - piece.len() as u64)) }
    });
    Part::stream_with_length(reqwest::Body::wrap_stream(pieces), size).file_name("large.txt")
}

async fn upload(person: &Person, size: u64) -> u16 {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(300)).build().unwrap();
    let form = Form::new().text("type", "document").part("file", text(size));
    let request = client.post(format!("http://{}/api/v1/media/upload", person.address)).bearer_auth(&person.access).multipart(form);
    Answer::of(request).await.status
}

/// The most memory the process has while `work` goes on.
async fn most_during<T>(run: &Run, work: impl Future<Output = T>) -> (T, u64) {
    let (process, most, ends) = (run.id(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = std::thread::spawn({
        let (most, ends) = (Arc::clone(&most), Arc::clone(&ends));
        move || {
            while !ends.load(Ordering::Relaxed) {
                most.fetch_max(resident(process), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    let done = work.await;
    ends.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    (done, most.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_cost_little_memory_whatever_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path(), None, &mut Random::new(seed()));
    std::fs::write(folder.path().join("wa.toml"), CONFIG).unwrap();
    let run = site.start(None);
    let alice = login(&site, "+15553000001").await;
    // What every process needs once is not growth.
    for _ in 0..4 {
        assert_eq!(upload(&alice, 2 * MB).await, 201);
    }
    let before = resident(run.id());
    let (status, most) = most_during(&run, upload(&alice, 100 * MB)).await;
    assert_eq!(status, 201);
    let grown = most.saturating_sub(before);
    println!("uploads: one of 100 MB: memory grew by {} KB", grown >> 10);
    assert!(grown <= 8 * MB, "one upload: memory grew by {grown} bytes");

    let many = number("WA_UPLOADS").unwrap_or(50);
    let (statuses, most) = most_during(&run, futures_util::future::join_all((0..many).map(|_| upload(&alice, 16 * MB)))).await;
    assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    let grown = most.saturating_sub(before);
    println!("uploads: {many} of 16 MB at once: memory grew by {} KB", grown >> 10);
    // Two buffers and a connection's own each, and what the inspector takes in its turns.
    assert!(grown <= many * MB + 64 * MB, "{many} uploads: memory grew by {grown} bytes");
    run.kill().await;
}
