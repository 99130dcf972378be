//! `wa contacts`: the address book, and who is blocked.

use crate::failure::Failure;
use crate::output::Output;
use crate::people;
use crate::session::Account;

/// Your contacts, and whom you have blocked.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Contacts {
    /// Add those of these numbers who are here.
    Add {
        /// Phone numbers, such as +15550100001.
        #[arg(required = true)]
        phones: Vec<String>,
    },
    /// List your contacts and blocked users.
    List,
    /// Block a user: you get nothing from them any more.
    Block {
        /// A phone number, a name or an id.
        who: String,
    },
    /// End a block.
    Unblock {
        /// A phone number, a name or an id.
        who: String,
    },
}

impl Contacts {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        match self {
            Self::Add { phones } => {
                let found = client.sync_contacts(&phones).await?;
                output.list(&found, ["USER", "PHONE", "NAME"], |user| [user.user_id.to_string(), user.phone.clone(), user.display_name.clone()])?;
                match phones.len().saturating_sub(found.len()) {
                    0 => Ok(()),
                    _ if found.is_empty() => Err(Failure::not_found("nobody uses any of these numbers here")),
                    missing => {
                        eprintln!("{missing} of the numbers are used by nobody here.");
                        Ok(())
                    }
                }
            }
            Self::List => {
                let contacts = client.contacts().await?;
                output.list(&contacts, ["USER", "PHONE", "NAME", ""], |contact| {
                    let name = if contact.nickname.is_empty() { &contact.display_name } else { &contact.nickname };
                    let blocked = if contact.is_blocked { "blocked" } else { "" };
                    [contact.user_id.to_string(), contact.phone.clone(), name.clone(), blocked.to_owned()]
                })
            }
            Self::Block { who } => Ok(client.block(people::user(&client, &who).await?).await?),
            Self::Unblock { who } => Ok(client.unblock(people::user(&client, &who).await?).await?),
        }
    }
}
