//! `wa completions`: what shells complete.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;
use crate::failure::Failure;
use crate::output::Output;

/// Print the completions for a shell: source them, or put them where it looks.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Args::command(), "wa", &mut script);
        output.line(String::from_utf8_lossy(&script).trim_end())
    }
}
