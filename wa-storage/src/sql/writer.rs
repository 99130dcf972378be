//! The one writer with group commit: whatever waits is taken together and committed as one transaction, then everybody
//! is answered. A failing piece of work fails alone; a failing commit fails the whole group and costs the connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::event::Event;
use wa_core::ports::{Env, Stored};

use super::append::{self, Append, Placed};
use super::db::{Connection, Db, Dialect, Row};
use super::receive::{self, Receive};
use super::relay::{Handoff, Position};
use super::statement::Statement;

/// Jobs that may wait for the writer.
const QUEUE: usize = 4096;

/// Jobs committed as one transaction, at the most.
const GROUP: usize = 256;

/// Groups after which the length of the log is looked at.
const LOOK_AT_LOG: u32 = 8;

/// How long a job may wait for a place in the queue, and then for its answer. Together they stay below the 5 s within
/// which everything is answered.
const PLACE_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_millis(3500);

/// A future that borrows the transaction it works in.
pub(crate) type InTx<'t, T> = Pin<Box<dyn Future<Output = Stored<T>> + Send + 't>>;

/// What runs once the outcome of the transaction is known to the database, before anybody is answered.
type Hook = Box<dyn FnOnce() + Send>;

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
    backend: &'static str,
}

enum Job {
    Append(Box<Append>, oneshot::Sender<Stored<Placed>>),
    Receive(Receive, oneshot::Sender<Stored<bool>>),
    Work(Box<dyn Work>),
    Close(oneshot::Sender<Stored<()>>),
}

impl Writer {
    /// Starts the writer's task. It ends with [`Self::close`], or when the last handle is gone.
    pub(crate) fn start(db: Arc<Db>, env: Arc<dyn Env>, handoff: Handoff) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let backend = db.dialect().name();
        tokio::spawn(Task { db, env, handoff, jobs, connection: None, unsettled: false, groups: 0, last_outbox_id: 0, swept: 0 }.run());
        Self { queue, backend }
    }

    /// Stores a message.
    pub(super) async fn append(&self, append: Append) -> Stored<Placed> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Append(Box::new(append), reply), answer).await
    }

    /// Takes a receipt.
    pub(super) async fn receive(&self, receive: Receive) -> Stored<bool> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Receive(receive, reply), answer).await
    }

    /// Does the work in a transaction, which it may share with other work. It is durable when this returns `Ok`; if it
    /// returns `Err`, nothing of it was done, unless the error is of kind `Unavailable`: then nobody knows.
    pub(crate) async fn run<T, F>(&self, work: F) -> Stored<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Work(Box::new(OneWork { work: Some(work), result: None, reply })), answer).await
    }

    /// Commits what waits, refuses what comes later, and closes the connection.
    pub(crate) async fn close(&self) -> Stored<()> {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Job::Close(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }

    async fn submit<T>(&self, job: Job, answer: oneshot::Receiver<Stored<T>>) -> Stored<T> {
        let unavailable = |why: &'static str| StoreError::unavailable(self.backend, why);
        if let Err(refused) = self.queue.try_send(job) {
            let mpsc::error::TrySendError::Full(job) = refused else {
                return Err(unavailable("the store is closed"));
            };
            match timeout(PLACE_WITHIN, self.queue.send(job)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(unavailable("the store is closed")),
                Err(_) => return Err(unavailable("the queue of the writer is full")),
            }
        }
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unavailable("the store was closed before it answered")),
            Err(_) => Err(unavailable("the writer did not answer in time")),
        }
    }
}

/// The transaction a piece of work runs in.
pub(crate) struct Tx<'a> {
    connection: &'a mut Connection,
    events: &'a mut Vec<Arc<Event>>,
    hooks: &'a mut Vec<Hook>,
}

impl Tx<'_> {
    /// Starts a statement that is built of parts.
    pub(crate) fn build(&self, text: &str) -> Statement {
        Statement::build(self.connection.dialect(), text)
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        self.connection.dialect()
    }

    pub(crate) async fn fetch(&mut self, statement: Statement) -> Stored<Vec<Row>> {
        self.connection.fetch(statement).await
    }

    /// Returns how many rows changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Stored<u64> {
        self.connection.execute(statement).await
    }

    /// Starts a part that can be taken back alone. Returns how many events there were before it.
    async fn savepoint(&mut self) -> Stored<usize> {
        self.execute(Statement::fixed("SAVEPOINT job")).await?;
        Ok(self.events.len())
    }

    /// Ends the part, and takes back what it did if it did not go well. Fails if the connection broke under it.
    async fn release(&mut self, events_before: usize, went_well: bool) -> Stored<()> {
        if self.connection.is_broken() {
            return Err(StoreError::unavailable(self.dialect().name(), "the connection broke under a job of the group"));
        }
        if !went_well {
            self.events.truncate(events_before);
            self.execute(Statement::fixed("ROLLBACK TO SAVEPOINT job")).await?;
        }
        self.execute(Statement::fixed("RELEASE SAVEPOINT job")).await?;
        Ok(())
    }

    /// Leaves an event in the outbox of the transaction.
    pub(crate) fn announce(&mut self, event: Event) {
        self.events.push(Arc::new(event));
    }

    /// Runs this when the transaction was committed, or when nobody knows whether it was; in any case before anybody
    /// is answered. Caches forget here what may have changed.
    pub(crate) fn when_settled(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }
}

/// A piece of work of any type.
trait Work: Send {
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> Pin<Box<dyn Future<Output = bool> + Send + 't>>;
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

struct OneWork<T, F> {
    work: Option<F>,
    result: Option<Stored<T>>,
    reply: oneshot::Sender<Stored<T>>,
}

impl<T, F> Work for OneWork<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Send + 'static,
{
    /// Returns whether it went well.
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> Pin<Box<dyn Future<Output = bool> + Send + 't>> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.result = Some(work(tx).await);
            }
            matches!(self.result, Some(Ok(_)))
        })
    }

    fn answer(self: Box<Self>, failure: Option<&Failure>) {
        let result = match (failure, self.result) {
            (Some(failure), _) => Err(failure.error()),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::other("store", "the work was never run")),
        };
        // Whoever asked may have given up by now.
        let _ = self.reply.send(result);
    }
}

/// Why a whole group failed; every job of it gets its own copy.
#[derive(Debug, thiserror::Error, Clone)]
#[error("the group commit failed: {reason}")]
struct Failure {
    kind: StoreErrorKind,
    backend: &'static str,
    reason: Arc<str>,
}

impl Failure {
    fn error(&self) -> StoreError {
        StoreError { kind: self.kind, backend: self.backend, source: Box::new(self.clone()) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // The outcome of a failed group is unknown to its callers, whatever the database said.
        let kind = if error.kind == StoreErrorKind::Corrupt { StoreErrorKind::Corrupt } else { StoreErrorKind::Unavailable };
        Self { kind, backend: error.backend, reason: error.source.to_string().into() }
    }
}

struct Task {
    db: Arc<Db>,
    env: Arc<dyn Env>,
    handoff: Handoff,
    jobs: mpsc::Receiver<Job>,
    connection: Option<Connection>,
    /// Whether the last connection was lost to a failed read, write or sync.
    unsettled: bool,
    /// Groups since the length of the log was looked at.
    groups: u32,
    last_outbox_id: i64,
    swept: i64,
}

/// The jobs of one transaction, by kind.
#[derive(Default)]
struct Group {
    appends: Vec<Append>,
    append_replies: Vec<oneshot::Sender<Stored<Placed>>>,
    receives: Vec<Receive>,
    receive_replies: Vec<oneshot::Sender<Stored<bool>>>,
    works: Vec<Box<dyn Work>>,
}

/// What a committed transaction gave.
struct Committed {
    placed: Vec<Stored<Placed>>,
    rose: Vec<Stored<bool>>,
    position: Option<Position>,
    events: Vec<Arc<Event>>,
}

impl Task {
    async fn run(mut self) {
        let mut jobs = Vec::with_capacity(GROUP);
        let mut closing = None;
        while self.jobs.recv_many(&mut jobs, GROUP).await > 0 {
            let mut group = Group::default();
            for job in jobs.drain(..) {
                match job {
                    Job::Append(append, reply) => {
                        group.appends.push(*append);
                        group.append_replies.push(reply);
                    }
                    Job::Receive(receive, reply) => {
                        group.receives.push(receive);
                        group.receive_replies.push(reply);
                    }
                    Job::Work(work) => group.works.push(work),
                    // What was queued before is still served; the channel then ends the loop.
                    Job::Close(reply) => {
                        self.jobs.close();
                        closing = Some(reply);
                    }
                }
            }
            self.settle(group).await;
            self.shorten_log().await;
        }
        let closed = match self.connection.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        };
        match closing {
            Some(reply) => drop(reply.send(closed)),
            None => {
                if let Err(error) = closed {
                    tracing::warn!(%error, "the database was not closed cleanly; it recovers on its next start");
                }
            }
        }
    }

    /// Commits a group and answers everybody in it.
    async fn settle(&mut self, mut group: Group) {
        let mut hooks = Vec::new();
        let outcome = self.commit(&mut group, &mut hooks).await;
        for hook in hooks {
            hook();
        }
        match outcome {
            Ok(committed) => {
                if let Some(position) = committed.position {
                    self.last_outbox_id = position.id;
                    self.handoff.hand_over(position, committed.events);
                }
                #[cfg(feature = "failpoints")]
                wa_core::faults::pass("before_answer");
                // Whoever asked may have given up by now.
                for (reply, placed) in group.append_replies.into_iter().zip(committed.placed) {
                    let _ = reply.send(placed);
                }
                for (reply, rose) in group.receive_replies.into_iter().zip(committed.rose) {
                    let _ = reply.send(rose);
                }
                for work in group.works {
                    work.answer(None);
                }
            }
            Err(error) => {
                tracing::error!(%error, jobs = group.appends.len() + group.receives.len() + group.works.len(), "a group of writes failed");
                self.let_go().await;
                let failure = Failure::from(error);
                for reply in group.append_replies {
                    let _ = reply.send(Err(failure.error()));
                }
                for reply in group.receive_replies {
                    let _ = reply.send(Err(failure.error()));
                }
                for work in group.works {
                    work.answer(Some(&failure));
                }
            }
        }
    }

    /// Once in a while, and after everybody was answered.
    async fn shorten_log(&mut self) {
        self.groups += 1;
        if self.groups < LOOK_AT_LOG {
            return;
        }
        self.groups = 0;
        let Some(connection) = &mut self.connection else { return };
        if let Err(error) = connection.shorten_log().await {
            tracing::error!(%error, "the log could not be copied into the database file; it grows until it can");
            self.let_go().await;
        }
    }

    /// Gives the connection up. The next group gets a new one.
    async fn let_go(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.unsettled |= connection.has_failed_io();
            connection.abandon().await;
        }
    }

    async fn commit(&mut self, group: &mut Group, hooks: &mut Vec<Hook>) -> Stored<Committed> {
        if group.appends.is_empty() && group.receives.is_empty() && group.works.is_empty() {
            return Ok(Committed { placed: Vec::new(), rose: Vec::new(), position: None, events: Vec::new() });
        }
        self.connect().await?;
        let Some(connection) = &mut self.connection else {
            return Err(StoreError::unavailable(self.db.dialect().name(), "no connection"));
        };
        let begin = connection.dialect().begin();
        connection.execute(Statement::fixed(begin)).await?;
        let mut events = Vec::new();
        let mut tx = Tx { connection, events: &mut events, hooks };
        // The batches come first and without a savepoint: should one be refused, the transaction holds nothing else yet.
        let (placed, rose) = match batches(&mut tx, &group.appends, &group.receives).await {
            Ok((placed, rose)) => (placed.into_iter().map(Ok).collect(), rose.into_iter().map(Ok).collect()),
            Err(error) if tx.connection.is_broken() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "a batch was refused and is repeated one by one");
                tx.events.clear();
                tx.execute(Statement::fixed("ROLLBACK")).await?;
                tx.execute(Statement::fixed(begin)).await?;
                one_by_one(&mut tx, &group.appends, &group.receives).await?
            }
        };
        for work in &mut group.works {
            let savepoint = tx.savepoint().await?;
            let went_well = work.run(&mut tx).await;
            tx.release(savepoint, went_well).await?;
        }
        let published = self.handoff.published();
        if published > self.swept {
            tx.execute(Statement::fixed("DELETE FROM outbox WHERE id <= $1").bind(published)).await?;
        }
        let mut position = None;
        if !tx.events.is_empty() {
            let json = serde_json::to_string(&*tx.events).map_err(|error| StoreError::other(tx.dialect().name(), error))?;
            let insert = Statement::fixed("INSERT INTO outbox (events, created_at) VALUES ($1, $2) RETURNING id");
            let rows = tx.fetch(insert.bind(json).bind(self.env.now())).await?;
            let id = rows.first().ok_or_else(|| StoreError::other(tx.dialect().name(), "the outbox gave no id"))?.int(0)?;
            position = Some(Position { previous: self.last_outbox_id, id });
        }
        #[cfg(feature = "planted")]
        let placed = answer_too_early(&mut group.append_replies, placed).await;
        #[cfg(feature = "failpoints")]
        wa_core::faults::pass("before_commit");
        let committed = connection.execute(Statement::fixed("COMMIT")).await;
        if !wa_core::faults::planted("failed_commit_acknowledged") {
            committed?;
        }
        #[cfg(feature = "failpoints")]
        wa_core::faults::pass("after_commit");
        self.swept = self.swept.max(published);
        self.handoff.swept(self.swept);
        Ok(Committed { placed, rose, position, events })
    }

    /// Opens the connection if there is none. What a lost connection may have left in the outbox is the relay's to find.
    async fn connect(&mut self) -> Stored<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        if self.unsettled {
            self.db.settle().await?;
            self.unsettled = false;
        }
        let mut connection = self.db.writer().await?;
        let rows = connection.fetch(Statement::fixed("SELECT COALESCE(MAX(id), 0) FROM outbox")).await?;
        self.last_outbox_id = rows.first().map_or(Ok(0), |row| row.int(0))?;
        self.handoff.look_at_table(self.last_outbox_id);
        self.connection = Some(connection);
        Ok(())
    }
}

/// The planted defect `ack_before_commit`: messages are acknowledged first and become durable a little later.
#[cfg(feature = "planted")]
async fn answer_too_early(replies: &mut Vec<oneshot::Sender<Stored<Placed>>>, placed: Vec<Stored<Placed>>) -> Vec<Stored<Placed>> {
    if !wa_core::faults::planted("ack_before_commit") {
        return placed;
    }
    for (reply, placed) in replies.drain(..).zip(placed) {
        let _ = reply.send(placed);
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    Vec::new()
}

async fn batches(tx: &mut Tx<'_>, appends: &[Append], receives: &[Receive]) -> Stored<(Vec<Placed>, Vec<bool>)> {
    Ok((append::append_all(tx, appends).await?, receive::receive_all(tx, receives).await?))
}

/// Each job in a savepoint of its own, so that the one that is refused is refused alone.
async fn one_by_one(tx: &mut Tx<'_>, appends: &[Append], receives: &[Receive]) -> Stored<(Vec<Stored<Placed>>, Vec<Stored<bool>>)> {
    let never = |tx: &Tx<'_>| StoreError::other(tx.dialect().name(), "a batch of one gave nothing");
    let mut placed = Vec::with_capacity(appends.len());
    for append in appends {
        let savepoint = tx.savepoint().await?;
        let result = append::append_all(tx, std::slice::from_ref(append)).await;
        tx.release(savepoint, result.is_ok()).await?;
        placed.push(result.and_then(|mut all| all.pop().ok_or_else(|| never(tx))));
    }
    let mut rose = Vec::with_capacity(receives.len());
    for receive in receives {
        let savepoint = tx.savepoint().await?;
        let result = receive::receive_all(tx, std::slice::from_ref(receive)).await;
        tx.release(savepoint, result.is_ok()).await?;
        rose.push(result.and_then(|mut all| all.pop().ok_or_else(|| never(tx))));
    }
    Ok((placed, rose))
}
