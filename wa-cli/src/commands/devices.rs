//! `wa devices`: where the account is logged in.

use wa_core::id::DeviceId;

use crate::failure::Failure;
use crate::output::{Output, when};
use crate::session::Account;

/// See and end the logins of your account.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Devices {
    /// List where your account is logged in.
    List,
    /// End the login of a device at once.
    Remove {
        /// Its id, from `wa devices list`.
        device: DeviceId,
    },
}

impl Devices {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        match self {
            Self::List => {
                let devices = client.devices().await?;
                output.list(&devices, ["DEVICE", "NAME", "LOGGED IN", "LAST ACTIVE", ""], |device| {
                    let current = if device.current { "this one" } else { "" };
                    [device.device_id.to_string(), device.name.clone(), when(device.created_at), when(device.last_active_at), current.to_owned()]
                })
            }
            Self::Remove { device } => {
                client.remove_device(device).await?;
                eprintln!("The device is logged out.");
                Ok(())
            }
        }
    }
}
