//! The demo of `--dev`: two users, each in the other's contacts, with a chat and a few messages. Doing it again changes nothing.

use serde_json::json;
use uuid::Uuid;
use wa_core::Result;
use wa_core::api::{Provision, SendMessage};
use wa_core::id::{DeviceId, UserId};
use wa_core::session::Caller;

use crate::chat::Chat;

/// A demo user.
#[derive(Debug, Clone, Copy)]
pub struct DemoUser {
    /// What they are called on the command line.
    pub name: &'static str,
    /// What others see.
    pub display_name: &'static str,
    /// Their phone, of the range kept for fiction.
    pub phone: &'static str,
    id: u128,
}

/// The first demo user.
pub const ALICE: DemoUser = DemoUser { name: "alice", display_name: "Alice", phone: "+15550100001", id: 0x0190_0000_0000_7000_8000_0000_0000_0001 };

/// The second demo user.
pub const BOB: DemoUser = DemoUser { name: "bob", display_name: "Bob", phone: "+15550100002", id: 0x0190_0000_0000_7000_8000_0000_0000_0002 };

/// What they said before anybody came: who, and what.
const SAID: [(DemoUser, &str); 4] = [
    (ALICE, "Hi Bob, the new chat server is up!"),
    (BOB, "Nice, that was quick. Does it survive a restart?"),
    (ALICE, "Stop it and start it again: nothing gets lost."),
    (BOB, "Then write me something and watch the ticks."),
];

impl DemoUser {
    /// As somebody who sits at the server itself; the device has no session and no token.
    const fn caller(self) -> Caller {
        Caller { user_id: UserId::from_uuid(Uuid::from_u128(self.id)), device_id: DeviceId::from_uuid(Uuid::from_u128(self.id | 0xd000)) }
    }
}

/// Makes what is not there yet. That it cannot be made is no reason not to serve.
pub(crate) async fn seed(chat: &Chat) {
    if let Err(error) = try_seed(chat).await {
        tracing::warn!(%error, "the demo users and their chat were not made");
    }
}

async fn try_seed(chat: &Chat) -> Result<()> {
    for user in [ALICE, BOB] {
        let provision = Provision { id: user.caller().user_id, phone: Some(user.phone.to_owned()), display_name: user.display_name.to_owned() };
        chat.users().provision(provision).await?;
    }
    for (user, other) in [(ALICE, BOB), (BOB, ALICE)] {
        chat.users().sync_contacts(&user.caller(), &[other.phone.to_owned()]).await?;
    }
    let (direct, _) = chat.chats().create_direct(&ALICE.caller(), BOB.caller().user_id).await?;
    let mut is_new = false;
    for (number, (sender, body)) in SAID.iter().enumerate() {
        let message = SendMessage {
            chat_id: direct.chat_id,
            client_msg_id: format!("demo-{number}"),
            kind: "text".to_owned(),
            payload: json!({ "body": body }),
            reply_to_message_id: None,
            origin: None,
        };
        is_new = !chat.messages().send(&sender.caller(), message).await?.duplicate;
    }
    // Later on this would mark as read what nobody has read.
    if is_new {
        for user in [ALICE, BOB] {
            chat.messages().mark_read(&user.caller(), Some(direct.chat_id), None, None).await?;
        }
    }
    Ok(())
}
