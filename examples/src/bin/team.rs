//! A host keeps a group in step with one of its teams: no server, no sockets, only the apis it calls.
//!
//! `cargo run -p wa-examples --bin team`

use anyhow::Context as _;
use serde_json::json;
use uuid::Uuid;
use wa_core::api::{CreateGroup, HistoryQuery, Provision, SendMessage};
use wa_core::id::{ChatId, DeviceId, UserId};
use wa_core::session::Caller;
use wa_examples::setting;
use wa_server::{Chat, Config};

/// One of the host's people, as the backend knows them. Their id is the host's.
async fn person(chat: &Chat, name: &str) -> anyhow::Result<Caller> {
    let id = UserId::from_uuid(Uuid::now_v7());
    chat.users().provision(Provision { id, phone: None, display_name: name.to_owned() }).await?;
    Ok(Caller { user_id: id, device_id: DeviceId::from_uuid(Uuid::now_v7()) })
}

async fn say(chat: &Chat, who: &Caller, chat_id: ChatId, text: &str) -> anyhow::Result<()> {
    let message = SendMessage {
        chat_id,
        client_msg_id: Uuid::now_v7().to_string(),
        kind: "text".to_owned(),
        payload: json!({ "body": text }),
        reply_to_message_id: None,
        origin: None,
    };
    chat.messages().send(who, message).await?;
    Ok(())
}

async fn show(chat: &Chat, who: &Caller, name: &str, team: ChatId) -> anyhow::Result<()> {
    println!("{name} sees:");
    let page = chat.messages().history(who, team, HistoryQuery { after_seq: Some(0), ..HistoryQuery::default() }).await?;
    for message in page.messages {
        println!("  {}", message.payload.to_value()["body"].as_str().context("every message here has a text")?);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.server.data_dir = setting("DATA_DIR", "./wa-data").into();
    let chat = Chat::builder(config).build().await?;

    let (ann, ben, cem) = (person(&chat, "Ann").await?, person(&chat, "Ben").await?, person(&chat, "Cem").await?);
    let group = CreateGroup { name: "Kitchen".to_owned(), participant_ids: vec![ben.user_id], ..CreateGroup::default() };
    let team = chat.chats().create_group(&ann, group).await?.chat_id;
    say(&chat, &ben, team, "The oven is hot").await?;
    // Cem joins the team, and Ben changes to another one.
    chat.chats().add_members(&ann, team, &[cem.user_id]).await?;
    chat.chats().remove_member(&ann, team, ben.user_id).await?;
    say(&chat, &cem, team, "Who has the salt?").await?;

    show(&chat, &ann, "Ann", team).await?;
    show(&chat, &cem, "Cem", team).await?;
    println!("Ben: {}", chat.chats().get(&ben, team).await.err().context("he is out")?.code());
    chat.shutdown().await;
    Ok(())
}
