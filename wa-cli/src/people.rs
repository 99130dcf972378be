//! Finds the chat a person means: by phone number, by id, or by name.

use wa_core::chat::ChatView;
use wa_core::id::{ChatId, UserId};
use wa_core::phone::Phone;
use wa_core::user::ContactView;
use wa_transport::client::{Client, ClientError};

use crate::failure::Failure;
use crate::session::{demo_phone, is_loopback};

/// Pages of the chat list that are searched for a name.
const MAX_PAGES: usize = 50;

/// The chat with whoever is meant, made if there is none.
pub(crate) async fn chat(client: &Client, who: &str) -> Result<ChatView, Failure> {
    if let Some(chat) = known_chat(client, who).await? {
        return Ok(chat);
    }
    let user = user(client, who).await?;
    Ok(client.create_direct(user).await?)
}

/// The chat of this id or name, with everybody in it, if there is one.
pub(crate) async fn known_chat(client: &Client, who: &str) -> Result<Option<ChatView>, Failure> {
    if let Ok(id) = who.parse::<ChatId>() {
        return match client.chat(id).await {
            Err(error) if is_missing(&error) => Ok(None),
            found => Ok(Some(found?)),
        };
    }
    if Phone::normalise(who).is_ok() {
        return Ok(None);
    }
    // A name may be that of a group, too.
    let named: Vec<_> = all_chats(client).await?.into_iter().filter(|chat| same(&chat.name, who)).collect();
    match named.as_slice() {
        [] => Ok(None),
        // The list shows groups without their members.
        [one] => Ok(Some(client.chat(one.chat_id).await?)),
        several => Err(ambiguous(who, several.iter().map(|chat| chat.chat_id.to_string()))),
    }
}

/// The user who is meant.
pub(crate) async fn user(client: &Client, who: &str) -> Result<UserId, Failure> {
    if let Ok(id) = who.parse::<UserId>() {
        return match client.user(id).await {
            Err(error) if is_missing(&error) => Err(Failure::not_found(format!("there is no chat or user {who}"))),
            found => Ok(found?.id),
        };
    }
    if let Ok(phone) = Phone::normalise(who) {
        return by_phone(client, &phone).await;
    }
    let contacts = client.contacts().await?;
    let named: Vec<_> = contacts.iter().filter(|contact| called(contact, who)).collect();
    match named.as_slice() {
        [contact] => return Ok(contact.user_id),
        [] => {}
        several => return Err(ambiguous(who, several.iter().map(|contact| contact.phone.clone()))),
    }
    let partners: Vec<_> = all_chats(client).await?.into_iter().filter_map(|chat| chat.participant).filter(|peer| same(&peer.display_name, who)).collect();
    match partners.as_slice() {
        [peer] => return Ok(peer.id),
        [] => {}
        several => return Err(ambiguous(who, several.iter().map(|peer| peer.id.to_string()))),
    }
    match demo_phone(who).filter(|_| is_loopback(client.base_url())).and_then(|phone| phone.parse().ok()) {
        Some(phone) => by_phone(client, &phone).await,
        None => Err(Failure::not_found(format!("nobody called {who:?} is among your chats and contacts: use their phone number, such as +15550100001"))),
    }
}

async fn by_phone(client: &Client, phone: &Phone) -> Result<UserId, Failure> {
    let found = client.sync_contacts(&[phone.to_string()]).await?;
    found.first().map(|user| user.user_id).ok_or_else(|| Failure::not_found(format!("nobody uses the number {phone} here")))
}

/// All chats, pinned first, then newest activity.
pub(crate) async fn all_chats(client: &Client) -> Result<Vec<ChatView>, Failure> {
    let (mut chats, mut cursor) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let page = client.chats(cursor.as_deref(), Some(100)).await?;
        chats.extend(page.chats);
        cursor = page.next_cursor;
        if !page.has_more || cursor.is_none() {
            break;
        }
    }
    Ok(chats)
}

fn is_missing(error: &ClientError) -> bool {
    error.api().is_some_and(|api| api.status == 404)
}

fn same(name: &str, who: &str) -> bool {
    name.to_lowercase() == who.to_lowercase()
}

fn called(contact: &ContactView, who: &str) -> bool {
    same(&contact.nickname, who) || same(&contact.display_name, who)
}

fn ambiguous(who: &str, them: impl Iterator<Item = String>) -> Failure {
    Failure::usage(format!("several are called {who:?}: name one of {}", them.collect::<Vec<_>>().join(", ")))
}
