//! `wa login`: by phone and code. A development server tells the code, which is then used without asking.

use wa_core::phone::Phone;
use wa_core::user::ProfileUpdate;
use wa_transport::client::Client;

use crate::failure::Failure;
use crate::output::Output;
use crate::session::{Account, ask, device_name};

/// Log in with a phone number, and store the login under the profile's name.
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Your phone number, such as +15550100001; asked for if absent.
    #[arg(long)]
    phone: Option<String>,
    /// What others see you as.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Login {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let file = account.file()?;
        let known = file.read()?;
        let server = match (&account.server, &known) {
            (None, Some(profile)) => profile.server.clone(),
            _ => account.server_or_default().to_owned(),
        };
        let client = Client::builder(&server).build()?;
        let phone = match self.phone {
            Some(phone) => phone,
            None => ask("Phone number")?,
        };
        let phone = Phone::normalise(&phone).map_err(|e| Failure::usage(format!("{phone:?} {e}")))?;
        let requested = client.request_otp(phone.as_str()).await?;
        let code = match requested.otp {
            Some(code) => {
                eprintln!("{server} is a development server: it told the code itself.");
                code
            }
            None => {
                eprintln!("A code was sent to {phone}.");
                ask("Code")?
            }
        };
        let login = client.verify_otp(phone.as_str(), &code, Some(&device_name())).await?;
        let client = account.keep(&file, &server, &login)?;
        let me = match self.name {
            Some(display_name) => client.update_me(&ProfileUpdate { display_name: Some(display_name), ..ProfileUpdate::default() }).await?,
            None => client.me().await?,
        };
        eprintln!("Logged in. The login is stored as the profile {:?}.", account.profile);
        output.thing(&me, [("id", me.id.to_string()), ("phone", me.phone.clone()), ("name", me.display_name.clone())])
    }
}
