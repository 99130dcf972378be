//! The chat server as a program: reads the command line, and does what it asks for.

use std::process::ExitCode;

use anyhow::Context as _;
use wa_server::binary::{Action, Command, dev_banner, shutdown_signal, start_logging};
use wa_server::{Config, Server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Command::of_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wa-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    let config = command.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    match command.action() {
        Action::Serve => runtime.block_on(serve(config)),
        Action::CheckConfig => {
            println!("the configuration is in order");
            Ok(())
        }
        Action::MigrateUp => {
            runtime.block_on(wa_storage::migrate::up(&config.database_url()))?;
            println!("the schema is up to date");
            Ok(())
        }
        #[cfg(feature = "cluster")]
        Action::MongoIndexes => {
            let url = config.storage.messages.as_deref().context("storage.messages names no MongoDB; write mongodb://user:password@host:port/database")?;
            runtime.block_on(wa_storage::migrate::mongo_indexes(url))?;
            println!("the indexes are made");
            Ok(())
        }
        Action::MigrateDown { yes: false } => anyhow::bail!("this drops everything in {}; if you mean it, add --yes", config.shown_database()),
        Action::MigrateDown { yes: true } => {
            runtime.block_on(wa_storage::migrate::down(&config.database_url()))?;
            println!("all tables are dropped");
            Ok(())
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    start_logging(&config.telemetry)?;
    let stop = shutdown_signal().context("signals cannot be listened for")?;
    #[cfg(feature = "cluster")]
    if config.server.roles.is_gateway_alone() {
        wa_server::GatewayServer::bind(config).await?.run_until(stop).await;
        return Ok(());
    }
    let server = Server::builder(config).bind().await?;
    tracing::info!(address = %server.local_addr(), "serving");
    if server.config().dev.mode {
        eprint!("{}", dev_banner(&server));
    }
    server.run_until(stop).await;
    Ok(())
}
