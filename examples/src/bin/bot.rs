//! A bot that answers whoever writes to it, over the typed client: it reconnects and resumes by itself.
//!
//! Start a server with `make run`, then `cargo run -p wa-examples --bin bot`, and write to +15550100009:
//! `cargo run -q -p wa-cli -- chat --as alice +15550100009`

use anyhow::Context as _;
use wa_core::message::MessageKind;
use wa_examples::{ctrl_c, setting};
use wa_transport::client::{Client, ClientError, Connection, ServerEvent};

/// Reads what is written to it, and answers, until the connection ends for good.
async fn answer(connection: &Connection) -> Result<(), ClientError> {
    loop {
        let ServerEvent::Message(message) = connection.next().await? else { continue };
        if message.sender_id == connection.user_id() || message.kind != MessageKind::Text {
            continue;
        }
        connection.mark_read(message.chat_id, message.message_id).await?;
        let payload = message.payload.to_value();
        let said = payload["body"].as_str().unwrap_or_default();
        connection.send_text(message.chat_id, format!("You said: {said}")).await?;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let phone = setting("PHONE", "+15550100009");
    let client = Client::builder(setting("SERVER", "http://127.0.0.1:8080")).build()?;
    // In development the server tells the code; a real bot keeps the tokens of one login (`Builder::token_store`).
    let code = client.request_otp(&phone).await?.otp.context("the server tells no codes; start it with --dev")?;
    client.verify_otp(&phone, &code, Some("bot")).await?;

    let connection = client.connect().await?;
    println!("the bot listens at {phone}");
    tokio::select! {
        ended = answer(&connection) => ended?,
        () = ctrl_c() => connection.close().await,
    }
    Ok(())
}
