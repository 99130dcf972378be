//! Sends a picture to somebody, and fetches what they see of it, over the typed client.
//!
//! Start a server with `make run`, then `FILE=photo.jpg TO=+15550100002 cargo run -p wa-examples --bin picture`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use wa_core::media::MediaKind;
use wa_core::message::MessageKind;
use wa_examples::setting;
use wa_transport::client::{Client, Outgoing};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::builder(setting("SERVER", "http://127.0.0.1:8080")).build()?;
    let phone = setting("PHONE", "+15550100001");
    let code = client.request_otp(&phone).await?.otp.context("the server tells no codes; start it with --dev")?;
    client.verify_otp(&phone, &code, Some("picture")).await?;
    let to = setting("TO", "+15550100002");
    let friend = client.sync_contacts(std::slice::from_ref(&to)).await?.pop().with_context(|| format!("nobody has the number {to}"))?;
    let chat = client.create_direct(friend.user_id).await?.chat_id;

    // A file is uploaded once and may then be sent as often as one likes.
    let file = PathBuf::from(setting("FILE", "photo.jpg"));
    let media = client.upload(&file, MediaKind::Image, Some(Arc::new(|done| eprintln!("{done} bytes are on their way")))).await?;
    let sent = client.send(chat, &Outgoing::new(MessageKind::Image, json!({ "media_id": media.media_id, "caption": "Look!" }))).await?;

    // Whoever reads the message finds everything needed to show it beside what was sent.
    let payload = sent.payload.to_value();
    println!("{} x {} pixels, {}", payload["width"], payload["height"], payload["mime_type"].as_str().unwrap_or_default());
    let copy = file.with_extension("copy");
    let bytes = client.download(media.media_id, tokio::fs::File::create(&copy).await?, None).await?;
    println!("{bytes} bytes came back, and lie in {}", copy.display());
    Ok(())
}
