//! What only the binary needs: flags, log output, the banner, signals.

mod banner;
mod command;
mod signal;
mod telemetry;

pub use command::{Action, Command};
pub use signal::shutdown_signal;
pub use telemetry::{JsonLines, start_logging};

pub use banner::dev_banner;
