//! `wa chat`: a conversation. On a terminal with a prompt; otherwise lines in, lines out, for scripts.

mod input;
mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use wa_core::id::{ChatId, MessageId};
use wa_core::message::{MessageView, Seq};
use wa_transport::client::{Client, ClientError, ConnectOptions, Connection, Outgoing, Sent, ServerEvent, Start};

use self::input::{Input, Paper};
use self::screen::{Recent, Screen};
use super::history::newest;
use crate::failure::Failure;
use crate::output::{Output, plain};
use crate::people;
use crate::session::Account;

/// Lines that wait to be sent, for instance while the server is away; no more are read then.
const MAX_UNSENT: usize = 64;

const HELP: &str = "Type a line and press Enter to send it. /quit or Ctrl-D leaves, //text sends text that begins with a slash.\n\
/reply TEXT answers the newest message of the others, /edit TEXT changes your newest one, /delete takes it back for everyone,\n\
/hide deletes the newest for you alone, /react EMOJI and /unreact, /star and /unstar, /forward WHO. A number means an older one:\n\
/react 3 EMOJI is for the third newest.\n\
✓ stored by the server, ✓✓ delivered, ✓✓ read: seen.";

/// Chat with somebody: history, live messages, ticks, typing and presence.
#[derive(Debug, clap::Args)]
pub(crate) struct Chat {
    /// With whom: a phone number, a name, or the id of a user or chat.
    who: String,
    /// How many older messages to show first.
    #[arg(long, short = 'n', default_value_t = 20)]
    history: usize,
}

impl Chat {
    pub(crate) async fn run(self, account: &Account, output: Output) -> Result<(), Failure> {
        let client = account.client().await?;
        let chat = people::chat(&client, &self.who).await?;
        // Connected first, so that nothing falls between the history and what comes live.
        let options = ConnectOptions { start: Start::Now, patience: Duration::from_secs(24 * 3600), ..ConnectOptions::default() };
        let connection = client.connect_with(options).await?;
        let history = newest(&client, chat.chat_id, self.history).await?;
        let is_interactive = !output.is_json() && io::stdin().is_terminal() && io::stdout().is_terminal();
        let (input, paper) = if is_interactive { input::terminal(output)? } else { (input::lines(), Paper::Stdout(output)) };
        let mut conversation = Conversation::new(client, connection.clone(), Screen::new(connection.user_id(), chat, output), input, paper);
        let outcome = tokio::select! {
            outcome = conversation.hold(history) => outcome,
            Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
        };
        connection.close().await;
        outcome
    }
}

struct Conversation {
    client: Client,
    connection: Connection,
    chat: ChatId,
    screen: Screen,
    input: mpsc::Receiver<Input>,
    paper: Paper,
    /// What is on its way to the server, in order.
    unsent: mpsc::Sender<String>,
    sent: mpsc::Receiver<Outcome>,
    in_flight: usize,
    last_sent: Seq,
    /// Up to where the person has seen the others' messages.
    seen: watch::Sender<Option<MessageId>>,
}

impl Conversation {
    fn new(client: Client, connection: Connection, screen: Screen, input: mpsc::Receiver<Input>, paper: Paper) -> Self {
        let chat = screen.chat_id();
        let (unsent, sent) = send_in_order(connection.clone(), chat);
        let seen = mark_read(connection.clone(), chat);
        Self { client, connection, chat, screen, input, paper, unsent, sent, in_flight: 0, last_sent: Seq::ZERO, seen }
    }

    async fn hold(&mut self, history: Vec<MessageView>) -> Result<(), Failure> {
        for message in history {
            self.show(&ServerEvent::Message(Box::new(message)))?;
        }
        if let Some(peer) = self.screen.peer() {
            let connection = self.connection.clone();
            // Whether somebody is there is told as an event; that it cannot be told is no reason to stop.
            tokio::spawn(async move { connection.watch(&[peer]).await });
        }
        if matches!(self.paper, Paper::Terminal(_)) {
            self.paper.print("Type a message, or /help.".to_owned())?;
        }
        let mut is_over = false;
        let mut failed = None;
        loop {
            if is_over && self.in_flight == 0 && self.screen.shown() >= self.last_sent {
                return failed.map_or(Ok(()), Err);
            }
            tokio::select! {
                event = self.connection.next() => match event {
                    Ok(event) => self.show(&event)?,
                    Err(error) => return Err(self.leave(error.into(), is_over).await),
                },
                input = self.input.recv(), if !is_over && self.in_flight < MAX_UNSENT => match input {
                    Some(Input::Line(line)) => is_over = self.typed(&line).await?,
                    Some(Input::Typing) => self.connection.typing(self.chat, true).await?,
                    None => is_over = true,
                },
                Some((text, outcome)) = self.sent.recv() => {
                    self.in_flight -= 1;
                    match outcome {
                        Ok(sent) => self.last_sent = self.last_sent.max(sent.seq),
                        Err(error) => {
                            self.paper.complain(format!("Not sent, because {error}: {}", plain(&text)))?;
                            failed = Some(error.into());
                        }
                    }
                }
            }
        }
    }

    fn show(&mut self, event: &ServerEvent) -> Result<(), Failure> {
        let before = self.screen.last_of_others();
        for line in self.screen.event(event)? {
            self.paper.print(line)?;
        }
        if let Some(notice) = self.screen.notice(event) {
            self.paper.complain(notice)?;
        }
        if self.screen.last_of_others() != before {
            self.seen.send_replace(self.screen.last_of_others());
        }
        Ok(())
    }

    /// A line was typed. Returns whether that was the last.
    async fn typed(&mut self, line: &str) -> Result<bool, Failure> {
        match line.trim() {
            "" => {}
            "/quit" | "/q" | "/exit" => return Ok(true),
            "/help" => self.paper.complain(HELP.to_owned())?,
            command if command.starts_with('/') && !command.starts_with("//") => {
                if let Err(complaint) = self.command(command).await {
                    self.paper.complain(complaint)?;
                }
            }
            _ => {
                let text = line.strip_prefix('/').filter(|_| line.starts_with("//")).unwrap_or(line);
                if self.unsent.try_send(text.to_owned()).is_ok() {
                    self.in_flight += 1;
                    if !self.screen.is_connected() {
                        self.paper.complain(format!("Not connected. It is sent when the connection is back: {}", plain(text)))?;
                    }
                }
            }
        }
        Ok(false)
    }

    /// Does what a line that begins with a slash asks for, or says why not. What came of it is told as an event.
    async fn command(&self, line: &str) -> Result<(), String> {
        let (name, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(name, rest)| (name, rest.trim()));
        let (number, rest) = match rest.split_once(char::is_whitespace).unwrap_or((rest, "")) {
            (first, others) if first.parse::<usize>().is_ok() => (first.parse().unwrap_or(1), others.trim()),
            _ => (1, rest),
        };
        let find = |which: fn(&Recent) -> bool| self.screen.recent(number, which).map(|recent| recent.id).ok_or("There is no such message.");
        let with_text = || if rest.is_empty() { Err(format!("{name} needs something after it.")) } else { Ok(rest) };
        let client = &self.client;
        let outcome = match name {
            "/reply" => {
                let reply = Outgoing::text(with_text()?).in_reply_to(find(|recent| !recent.is_own)?);
                client.send(self.chat, &reply).await.map(drop)
            }
            "/edit" => client.edit(find(|recent| recent.is_own)?, &json!({"body": with_text()?})).await.map(drop),
            "/delete" => client.delete_for_everyone(find(|recent| recent.is_own)?).await,
            "/hide" => client.delete_for_me(find(|_| true)?).await,
            "/react" => client.react(find(|_| true)?, Some(with_text()?)).await,
            "/unreact" => client.react(find(|_| true)?, None).await,
            "/star" => client.star(find(|_| true)?, true).await,
            "/unstar" => client.star(find(|_| true)?, false).await,
            "/forward" => {
                let to = people::chat(client, with_text()?).await.map_err(Failure::into_message)?;
                client.forward(find(|_| true)?, &[to.chat_id]).await.map(drop)
            }
            _ => return Err(format!("There is no {name}. {HELP}")),
        };
        outcome.map_err(|error| format!("{name} was not done, because {error}"))
    }

    /// The connection has ended. A prompt that waits for a line must be answered first, or the terminal stays in its mode.
    async fn leave(&mut self, failure: Failure, is_over: bool) -> Failure {
        if matches!(self.paper, Paper::Terminal(_)) && !is_over && self.paper.print("The connection has ended. Press Enter to leave.".to_owned()).is_ok() {
            while let Some(Input::Typing) = self.input.recv().await {}
        }
        failure
    }
}

/// A text, and what became of it.
type Outcome = (String, Result<Sent, ClientError>);

/// Sends one text after the other. It ends with the channel.
fn send_in_order(connection: Connection, chat: ChatId) -> (mpsc::Sender<String>, mpsc::Receiver<Outcome>) {
    let (unsent, mut queue) = mpsc::channel::<String>(MAX_UNSENT);
    let (report, sent) = mpsc::channel(MAX_UNSENT);
    tokio::spawn(async move {
        while let Some(text) = queue.recv().await {
            let outcome = connection.send_text(chat, &text).await;
            if report.send((text, outcome)).await.is_err() {
                return;
            }
        }
    });
    (unsent, sent)
}

/// Marks as read what was seen last; what was seen in between is covered by that.
fn mark_read(connection: Connection, chat: ChatId) -> watch::Sender<Option<MessageId>> {
    let (seen, mut last) = watch::channel(None);
    tokio::spawn(async move {
        while last.changed().await.is_ok() {
            let up_to = *last.borrow_and_update();
            // A failure is made good by the next message that is seen.
            if let Some(up_to) = up_to
                && connection.mark_read(chat, up_to).await.is_err_and(|error| matches!(error, ClientError::Closed))
            {
                return;
            }
        }
    });
    seen
}
