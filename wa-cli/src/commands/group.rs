//! `wa group`: groups, who is in them, and invites.

use wa_core::chat::{AutoDeleteTimer, ChatKind, ChatView, Role};
use wa_core::group::ProfileChange;
use wa_core::id::UserId;
use wa_transport::client::Client;

use crate::failure::Failure;
use crate::output::{Output, plain, when};
use crate::people;
use crate::session::Account;

/// Groups: make them, change them, and who is in them.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Group {
    /// Make a group, of which you are the admin.
    Create {
        /// What it is called.
        name: String,
        /// Who is in it: phone numbers, names, or ids of users.
        #[arg(required = true)]
        who: Vec<String>,
        /// What it is for.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
    },
    /// List who is in a group.
    Members {
        /// The group: its name or id.
        group: String,
    },
    /// Add people to a group. For admins.
    Add {
        /// The group: its name or id.
        group: String,
        /// Whom: phone numbers, names, or ids of users.
        #[arg(required = true)]
        who: Vec<String>,
    },
    /// Remove somebody from a group. For admins.
    Remove {
        /// The group: its name or id.
        group: String,
        /// Whom: a name in the group, a phone number, or the id of a user.
        who: String,
    },
    /// Leave a group.
    Leave {
        /// The group: its name or id.
        group: String,
    },
    /// Make a member an admin. For admins.
    Promote {
        /// The group: its name or id.
        group: String,
        /// Whom: a name in the group, a phone number, or the id of a user.
        who: String,
    },
    /// Make an admin a member. For admins.
    Demote {
        /// The group: its name or id.
        group: String,
        /// Whom: a name in the group, a phone number, or the id of a user.
        who: String,
    },
    /// Change what a group is called, what it is for, who may send, or when messages disappear. For admins.
    #[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
    Set {
        /// The group: its name or id.
        group: String,
        /// Its name.
        #[arg(long, value_name = "TEXT", group = "what")]
        name: Option<String>,
        /// What it is for.
        #[arg(long, value_name = "TEXT", group = "what")]
        description: Option<String>,
        /// Whether only admins may send.
        #[arg(long, value_name = "BOOL", group = "what")]
        admin_only: Option<bool>,
        /// After how long messages sent from now on disappear.
        #[arg(long, value_name = "TIME", group = "what")]
        disappearing: Option<Timer>,
    },
    /// Make an invite, which revokes the one before. For admins.
    Invite {
        /// The group: its name or id.
        group: String,
        /// Revoke the invite instead.
        #[arg(long)]
        revoke: bool,
    },
    /// Come into a group by an invite.
    Join {
        /// The code, or the whole address.
        invite: String,
    },
}

/// After how long messages disappear.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Timer {
    /// Never.
    Off,
    /// A day.
    #[value(name = "24h")]
    Day,
    /// A week.
    #[value(name = "7d")]
    Week,
    /// Ninety days.
    #[value(name = "90d")]
    Quarter,
}

impl From<Timer> for AutoDeleteTimer {
    fn from(timer: Timer) -> Self {
        match timer {
            Timer::Off => Self::Off,
            Timer::Day => Self::Day,
            Timer::Week => Self::Week,
            Timer::Quarter => Self::Quarter,
        }
    }
}

impl Group {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        match self {
            Self::Create { name, who, description } => {
                let made = client.create_group(&name, &description, &users(&client, &who).await?).await?;
                show(&made, output)
            }
            Self::Members { group } => {
                let group = find(&client, &group).await?;
                output.list(&group.participants, ["USER", "NAME", "ROLE", "SINCE"], |member| {
                    [member.user_id.to_string(), member.display_name.clone(), member.role.as_str().to_owned(), when(member.joined_at)]
                })
            }
            Self::Add { group, who } => {
                let group = find(&client, &group).await?;
                Ok(client.add_members(group.chat_id, &users(&client, &who).await?).await?)
            }
            Self::Remove { group, who } => {
                let group = find(&client, &group).await?;
                Ok(client.remove_member(group.chat_id, member(&client, &group, &who).await?).await?)
            }
            Self::Leave { group } => {
                let group = find(&client, &group).await?;
                Ok(client.remove_member(group.chat_id, client.me().await?.id).await?)
            }
            Self::Promote { group, who } => set_role(&client, &group, &who, Role::Admin).await,
            Self::Demote { group, who } => set_role(&client, &group, &who, Role::Member).await,
            Self::Set { group, name, description, admin_only, disappearing } => {
                let group = find(&client, &group).await?;
                if let Some(timer) = disappearing {
                    client.set_timer(group.chat_id, timer.into()).await?;
                }
                let change = ProfileChange { name, description, avatar_url: None, is_admin_only: admin_only };
                show(&client.update_group(group.chat_id, &change).await?, output)
            }
            Self::Invite { group, revoke } => {
                let group = find(&client, &group).await?;
                if revoke {
                    return Ok(client.revoke_invite(group.chat_id).await?);
                }
                let invite = client.create_invite(group.chat_id).await?;
                output.thing(&invite, [("Code", invite.code.clone()), ("Address", invite.url.clone())])
            }
            Self::Join { invite } => {
                let code = invite.rsplit_once("#join=").map_or(invite.as_str(), |(_, code)| code);
                show(&client.join(code).await?, output)
            }
        }
    }
}

fn show(group: &ChatView, output: Output) -> Result<(), Failure> {
    let fields = [
        ("Group", group.name.clone()),
        ("Id", group.chat_id.to_string()),
        ("About", group.description.clone()),
        ("Members", group.participants.len().to_string()),
        ("Who sends", if group.is_admin_only { "only admins" } else { "everybody" }.to_owned()),
        ("Messages disappear", if group.auto_delete_timer == AutoDeleteTimer::Off { "never" } else { group.auto_delete_timer.as_str() }.to_owned()),
    ];
    output.thing(group, fields)
}

/// The group that is meant, with its members.
async fn find(client: &Client, group: &str) -> Result<ChatView, Failure> {
    let chat = people::known_chat(client, group).await?;
    match chat {
        Some(chat) if chat.kind == ChatKind::Group => Ok(chat),
        Some(_) => Err(Failure::usage(format!("{group:?} is no group"))),
        None => Err(Failure::not_found(format!("none of your groups is called {group:?}; `wa chats list` shows them"))),
    }
}

async fn users(client: &Client, who: &[String]) -> Result<Vec<UserId>, Failure> {
    let mut users = Vec::with_capacity(who.len());
    for one in who {
        users.push(people::user(client, one).await?);
    }
    Ok(users)
}

/// Somebody in the group, who need not be among the caller's contacts.
async fn member(client: &Client, group: &ChatView, who: &str) -> Result<UserId, Failure> {
    let named: Vec<UserId> =
        group.participants.iter().filter(|member| plain(&member.display_name).to_lowercase() == who.to_lowercase()).map(|member| member.user_id).collect();
    match named.as_slice() {
        [one] => Ok(*one),
        [] => people::user(client, who).await,
        _ => Err(Failure::usage(format!("several in the group are called {who:?}; name one by the id that `wa group members` shows"))),
    }
}

async fn set_role(client: &Client, group: &str, who: &str, role: Role) -> Result<(), Failure> {
    let group = find(client, group).await?;
    Ok(client.set_role(group.chat_id, member(client, &group, who).await?, role).await?)
}
