//! `wa profile`: what others see of you.

use std::path::PathBuf;

use wa_core::user::{Profile as Shown, ProfileUpdate};

use crate::failure::Failure;
use crate::output::Output;
use crate::people;
use crate::session::Account;

/// See and change what others see of you.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Profile {
    /// Show a profile: yours, or another user's.
    Get {
        /// Whose: a phone number, a name or an id.
        who: Option<String>,
    },
    /// Change your profile.
    Set(Set),
}

/// Change your profile.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Set {
    /// What you are called, 64 characters at most.
    #[arg(long)]
    name: Option<String>,
    /// A line about you, 140 characters at most.
    #[arg(long)]
    status: Option<String>,
    /// Your picture: a JPEG, PNG or WebP of at most 5 MB.
    #[arg(long, value_name = "PATH")]
    picture: Option<PathBuf>,
}

impl Profile {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        let profile = match self {
            Self::Get { who: None } => client.me().await?,
            Self::Get { who: Some(who) } => client.user(people::user(&client, &who).await?).await?,
            Self::Set(Set { name, status, picture }) => {
                if let Some(picture) = picture {
                    client.set_avatar(&picture).await?;
                }
                client.update_me(&ProfileUpdate { display_name: name, status_text: status, avatar_url: None }).await?
            }
        };
        show(&profile, output)
    }
}

fn show(profile: &Shown, output: Output) -> Result<(), Failure> {
    let hidden = || "(hidden)".to_owned();
    output.thing(
        profile,
        [
            ("id", profile.id.to_string()),
            ("phone", if profile.phone.is_empty() { hidden() } else { profile.phone.clone() }),
            ("name", profile.display_name.clone()),
            ("status", profile.status_text.clone().unwrap_or_else(hidden)),
            ("picture", profile.avatar_url.clone().unwrap_or_else(hidden)),
        ],
    )
}
