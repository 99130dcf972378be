//! The yardstick: a server that copies the body of every request into a file of its own, syncs it, and answers 201.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

/// Serves until it is killed; the first line of its output is its address.
pub(crate) fn serve(folder: &str) -> io::Result<()> {
    let router = Router::new().fallback(copy).layer(DefaultBodyLimit::disable()).with_state(PathBuf::from(folder));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        axum::serve(listener, router).await
    })
}

async fn copy(State(folder): State<PathBuf>, body: Body) -> StatusCode {
    match copy_into(&folder, body).await {
        Ok(()) => StatusCode::CREATED,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn copy_into(folder: &Path, body: Body) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let path = folder.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    let mut file = tokio::fs::File::create(path).await?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece.map_err(io::Error::other)?).await?;
    }
    file.flush().await?;
    file.sync_all().await
}
