//! Where lines come from and go to: a prompt that messages appear above, or plain streams.

use std::cell::Cell;
use std::io::{BufRead as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Editor, ExternalPrinter, Helper};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::output::Output;

/// How often typing is told at most; the server holds it for 5 s.
const TYPING_SPACING: Duration = Duration::from_secs(3);

/// What a person or script does.
#[derive(Debug)]
pub(super) enum Input {
    /// A line is complete.
    Line(String),
    /// Something was typed.
    Typing,
}

/// Where lines are printed.
pub(super) enum Paper {
    /// Above the prompt.
    Terminal(Box<dyn FnMut(String) -> rustyline::Result<()> + Send>),
    /// One after the other.
    Stdout(Output),
}

impl Paper {
    /// Prints what belongs to the conversation.
    pub(super) fn print(&mut self, line: String) -> Result<(), Failure> {
        match self {
            Self::Terminal(print) => print(line + "\n").map_err(|e| terminal_failure(&e)),
            Self::Stdout(output) => output.line(&line),
        }
    }

    /// Prints what is for the person only.
    pub(super) fn complain(&mut self, line: String) -> Result<(), Failure> {
        match self {
            Self::Terminal(print) => print(line + "\n").map_err(|e| terminal_failure(&e)),
            Self::Stdout(_) => {
                eprintln!("{line}");
                Ok(())
            }
        }
    }
}

/// The lines of the standard input, whatever it is.
pub(super) fn lines() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(16);
    // Not a task: nothing can end it while it waits for input.
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            // Input that is not UTF-8 ends the conversation like its end does.
            let Ok(line) = line else { return };
            if sender.blocking_send(Input::Line(line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A prompt on the terminal, and the way to print above it.
pub(super) fn terminal(output: Output) -> Result<(mpsc::Receiver<Input>, Paper), Failure> {
    let (sender, receiver) = mpsc::channel(16);
    let config = Config::builder().auto_add_history(true).build();
    let mut editor = Editor::with_history(config, MemHistory::new()).map_err(|e| terminal_failure(&e))?;
    editor.set_helper(Some(Listener { typed: sender.clone(), told_at: Cell::new(None) }));
    let mut printer = editor.create_external_printer().map_err(|e| terminal_failure(&e))?;
    let prompt = output.dim("> ");
    thread::spawn(move || {
        loop {
            match editor.readline(prompt.as_str()) {
                Ok(line) => {
                    // The line comes back as a message with its tick; one that fills several rows stays.
                    if line.chars().count() < 70 {
                        let mut stdout = std::io::stdout();
                        // A terminal that cannot be written to is noticed by the next prompt.
                        let _ = stdout.write_all(b"\x1b[1A\x1b[2K\r").and_then(|()| stdout.flush());
                    }
                    if sender.blocking_send(Input::Line(line)).is_err() {
                        return;
                    }
                }
                Err(ReadlineError::Signal(_)) => {}
                // Ctrl-D and Ctrl-C leave; so does a terminal that is gone.
                Err(_) => return,
            }
        }
    });
    Ok((receiver, Paper::Terminal(Box::new(move |line| printer.print(line)))))
}

fn terminal_failure(error: &ReadlineError) -> Failure {
    Failure::general(format!("the terminal cannot be used: {error}"))
}

/// Notices that something is typed: the editor asks it on every key how the line is to look.
struct Listener {
    typed: mpsc::Sender<Input>,
    told_at: Cell<Option<Instant>>,
}

impl Highlighter for Listener {
    fn highlight_char(&self, line: &str, _pos: usize, _kind: CmdKind) -> bool {
        let is_due = self.told_at.get().is_none_or(|at| at.elapsed() >= TYPING_SPACING);
        if is_due && !line.is_empty() && !line.starts_with('/') {
            self.told_at.set(Some(Instant::now()));
            // When the queue is full there is more important news.
            let _ = self.typed.try_send(Input::Typing);
        }
        false
    }
}

impl Completer for Listener {
    type Candidate = String;
}

impl Hinter for Listener {
    type Hint = String;
}

impl Validator for Listener {}

impl Helper for Listener {}
