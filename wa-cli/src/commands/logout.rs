//! `wa logout`: ends the session and forgets the login.

use crate::failure::Failure;
use crate::session::Account;

/// End this profile's session and forget it.
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {}

impl Logout {
    pub(crate) async fn run(self, account: &Account) -> Result<(), Failure> {
        let Some(profile) = account.file()?.read()? else {
            return Err(Failure::auth(format!("there is no login {:?}", account.profile)));
        };
        let client = wa_transport::client::Client::builder(profile.server).token_store(std::sync::Arc::new(account.file()?)).build()?;
        client.logout().await?;
        eprintln!("Logged out: the profile {:?} is removed.", account.profile);
        Ok(())
    }
}
