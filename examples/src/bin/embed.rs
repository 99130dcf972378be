//! Chat inside an axum service of your own, in about ten lines.
//!
//! `cargo run -p wa-examples --bin embed`, then open http://127.0.0.1:3000/ and http://127.0.0.1:3000/docs

use std::net::SocketAddr;

use axum::{Router, routing::get};
use wa_examples::{ctrl_c, setting};
use wa_server::{Chat, Config};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.server.data_dir = setting("DATA_DIR", "./wa-data").into();

    let chat = Chat::builder(config).build().await?;
    let app = Router::new().route("/", get(|| async { "My own service, now with chat." })).merge(chat.router());

    let listener = tokio::net::TcpListener::bind(setting("ADDRESS", "127.0.0.1:3000")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).with_graceful_shutdown(ctrl_c()).await?;
    chat.shutdown().await;
    Ok(())
}
