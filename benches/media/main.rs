//! Uploads side by side: the server, and a bare copy of the body into a file over the same HTTP stack, with the same client, in
//! one run. A table goes to stderr, JSON to stdout. `--quick` takes a fifth of the time.

#[path = "../delivery/child.rs"]
mod child;
mod copy;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use child::Served;
use futures_util::future::try_join_all;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client, RequestBuilder};
use serde::Serialize;
use wa_cli::load;

const MB: usize = 1 << 20;

/// One subject under one load.
#[derive(Debug, Serialize)]
struct Row {
    subject: &'static str,
    load: &'static str,
    megabytes_per_second: f64,
    /// CPU seconds of the subject for a gigabyte.
    cpu_seconds_per_gigabyte: f64,
    /// How far the memory of the subject rose above what it was before, in megabytes.
    memory_rise: f64,
}

/// Files of one size, so many at the same time, and so many in all.
struct Load {
    name: &'static str,
    bytes: usize,
    at_once: usize,
    files: usize,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, folder, ..] = arguments.as_slice()
        && first == "--relay"
    {
        return copy::serve(folder);
    }
    let rounds = if arguments.iter().any(|argument| argument == "--quick") { 1 } else { 5 };
    let _ = rustls::crypto::ring::default_provider().install_default();
    // On the disk, not in memory: syncing is part of what is measured.
    let folder = tempfile::Builder::new().prefix("wa-bench-").tempdir_in(std::env::current_dir()?)?;
    let loads = [
        Load { name: "100 MB, one at a time", bytes: 100 * MB - 1024, at_once: 1, files: rounds },
        Load { name: "16 MB, 50 at a time", bytes: 16 * MB, at_once: 50, files: 50 * rounds },
        Load { name: "100 KB, 8 at a time", bytes: 100 * 1024, at_once: 8, files: 400 * rounds },
    ];
    let mut rows = Vec::new();
    eprintln!("{:<12} {:<24} {:>8} {:>10} {:>12}", "", "", "MB/s", "CPU s/GB", "memory, MB");
    for load in &loads {
        let copied = folder.path().join("copies");
        std::fs::create_dir_all(&copied)?;
        let served = Served::relay(Some(&copied))?;
        let url = format!("http://{}/", served.address);
        rows.push(measure("plain copy", &served, load, |client, file| client.put(&url).body(Body::from(file)))?);
        std::fs::remove_dir_all(&copied)?;

        let data = folder.path().join("server");
        let served = Served::server(&data)?;
        let pairs = load::run(load::pairs(served.address, 0, 1, false, |_| ()))?;
        let token = pairs.first().and_then(|pair| pair.sender.token.clone()).ok_or_else(|| io::Error::other("nobody is logged in"))?;
        let url = format!("http://{}/api/v1/media/upload", served.address);
        rows.push(measure("wa-server", &served, load, |client, file| {
            let length = file.len() as u64;
            let form = Form::new().text("type", "document").part("file", Part::stream_with_length(Body::from(file), length).file_name("a.pdf"));
            client.post(&url).bearer_auth(&token).multipart(form)
        })?);
        drop(served);
        std::fs::remove_dir_all(&data)?;
    }
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}

fn measure(subject: &'static str, served: &Served, load: &Load, request: impl Fn(&Client, Bytes) -> RequestBuilder) -> io::Result<Row> {
    // A document whose bytes are looked at no further: what is measured is how they get to the disk.
    let file = Bytes::from([b"%PDF-1.7\n".as_slice(), &vec![b'x'; load.bytes - 9]].concat());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (seconds, cpu, rise) = runtime.block_on(async {
        let client = Client::builder().no_proxy().build().map_err(io::Error::other)?;
        // One to warm up.
        send(request(&client, file.clone())).await?;
        let before = served.usage()?;
        let over = Arc::new(AtomicBool::new(false));
        let (start, mut most) = (Instant::now(), before.memory);
        let uploads = async {
            let next = std::cell::Cell::new(0);
            let result = try_join_all((0..load.at_once).map(async |_| {
                while next.get() < load.files {
                    next.set(next.get() + 1);
                    send(request(&client, file.clone())).await?;
                }
                io::Result::Ok(())
            }))
            .await;
            over.store(true, Ordering::Relaxed);
            result.map(|_| start.elapsed().as_secs_f64())
        };
        let watch = async {
            while !over.load(Ordering::Relaxed) {
                most = most.max(served.usage()?.memory);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            io::Result::Ok(most)
        };
        let (seconds, most) = futures_util::future::try_join(uploads, watch).await?;
        let after = served.usage()?;
        io::Result::Ok((seconds, after.cpu - before.cpu, most.saturating_sub(before.memory)))
    })?;
    let megabytes = (load.bytes * load.files) as f64 / MB as f64;
    let row = Row {
        subject,
        load: load.name,
        megabytes_per_second: megabytes / seconds,
        cpu_seconds_per_gigabyte: cpu / megabytes * 1024.0,
        memory_rise: rise as f64 / MB as f64,
    };
    eprintln!("{:<12} {:<24} {:>8.0} {:>10.2} {:>12.1}", row.subject, row.load, row.megabytes_per_second, row.cpu_seconds_per_gigabyte, row.memory_rise);
    Ok(row)
}

async fn send(request: RequestBuilder) -> io::Result<()> {
    let answer = request.send().await.map_err(io::Error::other)?;
    match answer.status().as_u16() {
        201 => Ok(()),
        status => Err(io::Error::other(format!("{status}: {}", answer.text().await.unwrap_or_default()))),
    }
}
