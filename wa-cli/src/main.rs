//! `wa`: the command line client of the chat backend. Commands are in `commands/`, one a file; `docs/cli.md` shows each.

mod args;
mod commands;
mod failure;
mod files;
mod output;
mod people;
mod profiles;
mod session;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;
use crate::failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::general(format!("the runtime cannot be started: {e}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(interruptible(commands::run(args)));
            // A thread that waits for input must not hold up the end.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Ctrl-C ends any command that does not end itself in order.
async fn interruptible(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = command => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}
