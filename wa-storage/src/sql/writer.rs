//! The one writer with group commit: whatever waits is taken together and committed as one transaction, then everybody
//! is answered. A failing piece of work fails alone; a failing commit fails the whole group and costs the connection.
//! Messages and deliveries of a group that holds nothing else are only written to the outbox; see `deferred.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::event::{Event, Fact};
use wa_core::ports::{Env, Stored};

use super::append::{self, Append, Heads, Placed};
use super::db::{Connection, Db, Dialect, Row};
use super::deferred::Deferred;
use super::places::Places;
use super::receive::{self, MarksOf, Receive};
use super::relay::{Handoff, Position};
use super::statement::{Statement, Value};

/// Jobs that may wait for the writer.
pub(super) const QUEUE: usize = 4096;

/// Jobs committed as one transaction, at the most.
const GROUP: usize = 256;

/// Groups after which the length of the log is looked at.
const LOOK_AT_LOG: u32 = 8;

/// How long a job may wait for a place in the queue.
const PLACE_WITHIN: Duration = Duration::from_secs(1);

/// Counters and marks kept at hand between groups, of chats and of their participants.
const AT_HAND: usize = 100_000;

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

pub(super) enum Job {
    Append(Box<Append>, oneshot::Sender<Stored<Placed>>),
    Receive(Receive, oneshot::Sender<Stored<bool>>),
    Work(Box<dyn Work>),
    /// Bring everything committed to its tables.
    Settle(oneshot::Sender<Stored<()>>),
    Close(oneshot::Sender<Stored<()>>),
}

impl Writer {
    /// Starts the writer's task. It ends with [`Self::close`], or when the last handle is gone.
    pub(super) fn start(db: Arc<Db>, env: Arc<dyn Env>, handoff: Handoff, places: Arc<Places>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let backend = db.dialect().name();
        db.deferral().of(queue.downgrade());
        let task = Task {
            db,
            env,
            handoff,
            places,
            jobs,
            connection: None,
            unsettled: false,
            groups: 0,
            last_outbox_id: 0,
            swept: 0,
            heads: Heads::new(),
            marks: MarksOf::new(),
            deferred: Deferred::default(),
            knows_deferred: false,
        };
        tokio::spawn(task.run());
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
        self.work(work, true).await
    }

    /// The same for work that neither reads nor changes chats, messages, receipts, or who is in a chat. It does not wait
    /// for those.
    pub(crate) async fn run_apart<T, F>(&self, work: F) -> Stored<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Send + 'static,
    {
        self.work(work, false).await
    }

    async fn work<T, F>(&self, work: F, touches_chats: bool) -> Stored<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Work(Box::new(OneWork { work: Some(work), result: None, touches_chats, reply })), answer).await
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
        // No timer for each: whoever asks bounds how long a request takes, with all its parts.
        answer.await.unwrap_or_else(|_| Err(unavailable("the store was closed before it answered")))
    }
}

/// Reads as if everything deferred were in its tables, and leaves it where it is: on a connection of its own, in a
/// transaction that is taken back, so that nothing need be written. For a disk that takes nothing.
pub(super) async fn read_through(db: &Db, statement: Statement) -> Stored<Vec<Row>> {
    let mut connection = db.writer().await?;
    connection.execute(Statement::fixed(connection.dialect().begin())).await?;
    let deferred = Deferred::load(&mut connection).await?;
    let (mut events, mut hooks) = (Vec::new(), Vec::new());
    let mut tx = Tx { connection: &mut connection, events: &mut events, hooks: &mut hooks };
    deferred.apply(&mut tx, deferred.all()).await?;
    let rows = tx.fetch(statement).await?;
    tx.execute(Statement::fixed("ROLLBACK")).await?;
    connection.abandon().await;
    Ok(rows)
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
    pub(crate) fn announce(&mut self, event: impl Into<Arc<Event>>) {
        self.events.push(event.into());
    }

    /// Runs this when the transaction was committed, or when nobody knows whether it was; in any case before anybody
    /// is answered. Caches forget here what may have changed.
    pub(crate) fn when_settled(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }
}

/// A piece of work of any type.
pub(super) trait Work: Send {
    /// Whether it may read or change what messages and receipts change.
    fn touches_chats(&self) -> bool;
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> Pin<Box<dyn Future<Output = bool> + Send + 't>>;
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

struct OneWork<T, F> {
    work: Option<F>,
    result: Option<Stored<T>>,
    touches_chats: bool,
    reply: oneshot::Sender<Stored<T>>,
}

impl<T, F> Work for OneWork<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Send + 'static,
{
    fn touches_chats(&self) -> bool {
        self.touches_chats
    }

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
pub(super) struct Failure {
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
    places: Arc<Places>,
    jobs: mpsc::Receiver<Job>,
    connection: Option<Connection>,
    /// Whether the last connection was lost to a failed read, write or sync.
    unsettled: bool,
    /// Groups since the length of the log was looked at.
    groups: u32,
    last_outbox_id: i64,
    swept: i64,
    /// How far chats are counted, and participants' marks, with everything deferred. What is not here is as the tables say;
    /// so where this was forgotten or never known, everything deferred goes to the tables first.
    heads: Heads,
    marks: MarksOf,
    deferred: Deferred,
    knows_deferred: bool,
}

/// The jobs of one transaction, by kind.
#[derive(Default)]
struct Group {
    appends: Vec<Append>,
    append_replies: Vec<oneshot::Sender<Stored<Placed>>>,
    receives: Vec<Receive>,
    receive_replies: Vec<oneshot::Sender<Stored<bool>>>,
    works: Vec<Box<dyn Work>>,
    settles: Vec<oneshot::Sender<Stored<()>>>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.receives.is_empty() && self.works.is_empty()
    }

    /// Whether everything in it that changes chats can stay in the outbox for now.
    fn can_be_deferred(&self) -> bool {
        !self.works.iter().any(|work| work.touches_chats()) && self.receives.iter().all(receive::is_delivery) && !append::has_repeats(&self.appends)
    }
}

/// What a committed transaction gave.
struct Committed {
    placed: Vec<Stored<Placed>>,
    rose: Vec<bool>,
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
                    Job::Settle(reply) => group.settles.push(reply),
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
        self.settle_deferred().await;
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
        let jobs = group.appends.len() + group.receives.len() + group.works.len();
        let outcome = self.commit(&mut group, &mut hooks).await;
        for hook in hooks {
            hook();
        }
        match outcome {
            Ok(committed) => {
                if let Some(position) = committed.position {
                    self.last_outbox_id = position.id;
                    // Before anybody is told of them, as they are confirmed at once.
                    self.places.insert(committed.events.iter().filter_map(|event| match &event.fact {
                        Fact::MessageNew(new) => Some(new.located()),
                        _ => None,
                    }));
                    self.handoff.hand_over(position, committed.events);
                }
                #[cfg(feature = "failpoints")]
                wa_core::faults::pass("before_answer");
                // Whoever asked may have given up by now.
                for (reply, placed) in group.append_replies.into_iter().zip(committed.placed) {
                    let _ = reply.send(placed);
                }
                for (reply, rose) in group.receive_replies.into_iter().zip(committed.rose) {
                    let _ = reply.send(Ok(rose));
                }
                for work in group.works {
                    work.answer(None);
                }
                for reply in group.settles {
                    let _ = reply.send(Ok(()));
                }
            }
            Err(error) => {
                tracing::error!(%error, jobs, "a group of writes failed");
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
                for reply in group.settles {
                    let _ = reply.send(Err(failure.error()));
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

    /// Before the end; what cannot be brought to its tables now is at the next start.
    async fn settle_deferred(&mut self) {
        if self.deferred.is_empty() {
            return;
        }
        let (reply, _) = oneshot::channel();
        self.settle(Group { settles: vec![reply], ..Group::default() }).await;
    }

    /// Gives the connection up. The next group gets a new one, and looks anew for what is deferred.
    async fn let_go(&mut self) {
        self.forget();
        if let Some(connection) = self.connection.take() {
            self.unsettled |= connection.has_failed_io();
            connection.abandon().await;
        }
    }

    /// Forgets what is kept at hand: the tables say.
    fn forget(&mut self) {
        self.heads = Heads::new();
        self.marks = MarksOf::new();
        self.knows_deferred = false;
    }

    async fn commit(&mut self, group: &mut Group, hooks: &mut Vec<Hook>) -> Stored<Committed> {
        let nothing = Committed { placed: Vec::new(), rose: Vec::new(), position: None, events: Vec::new() };
        if group.is_empty() && group.settles.is_empty() {
            return Ok(nothing);
        }
        self.connect().await?;
        if group.is_empty() && self.deferred.is_empty() {
            return Ok(nothing);
        }
        let defers = self.db.dialect().defers() && group.can_be_deferred();
        if self.heads.len() + self.marks.len() > AT_HAND {
            self.forget();
        }
        let needs_all = !defers || !group.settles.is_empty() || !self.knows_deferred || self.deferred.may_hold(&group.appends);
        let applied = if needs_all { self.deferred.all() } else { self.deferred.due(group.appends.len() + group.receives.len()) };
        let Some(connection) = &mut self.connection else {
            return Err(StoreError::unavailable(self.db.dialect().name(), "no connection"));
        };
        let begin = connection.dialect().begin();
        connection.execute(Statement::fixed(begin)).await?;
        let mut events = Vec::new();
        let mut tx = Tx { connection, events: &mut events, hooks };
        self.deferred.apply(&mut tx, applied).await?;
        let (mut new, mut delivered) = (Vec::new(), Vec::new());
        let appends = std::mem::take(&mut group.appends);
        let (placed, rose) = if defers {
            let (placed, stored) = append::place(&mut tx, &mut self.heads, appends).await?;
            let raised = receive::raise(&mut tx, &mut self.marks, &group.receives).await?;
            (new, delivered) = (stored, raised.events);
            tx.events.extend(new.iter().map(|new| &new.event).chain(&delivered).cloned());
            (placed, raised.rose)
        } else {
            (append::append_all(&mut tx, appends).await?, receive::receive_all(&mut tx, &group.receives).await?)
        };
        for work in &mut group.works {
            let savepoint = tx.savepoint().await?;
            let went_well = work.run(&mut tx).await;
            tx.release(savepoint, went_well).await?;
        }
        let done = self.handoff.settled().min(self.deferred.needed_from(applied).map_or(i64::MAX, |row| row - 1));
        if done > self.swept {
            tx.execute(Statement::fixed("DELETE FROM outbox WHERE id <= $1").bind(done)).await?;
        }
        let mut position = None;
        if !tx.events.is_empty() {
            let json = serde_json::to_string(&*tx.events).map_err(|error| StoreError::other(tx.dialect().name(), error))?;
            let fingerprints: Vec<u8> = new.iter().flat_map(|new| *new.fingerprint.as_bytes()).collect();
            let insert = Statement::fixed("INSERT INTO outbox (events, deferred, fingerprints, created_at) VALUES ($1, $2, $3, $4) RETURNING id");
            let insert = insert.bind(json).bind(i64::try_from(new.len() + delivered.len()).unwrap_or(i64::MAX)).bind(Value::Bytes(fingerprints));
            let rows = tx.fetch(insert.bind(self.env.now())).await?;
            let id = rows.first().ok_or_else(|| StoreError::other(tx.dialect().name(), "the outbox gave no id"))?.int(0)?;
            position = Some(Position { previous: self.last_outbox_id, id });
        }
        #[cfg(feature = "planted")]
        let placed = answer_too_early(&mut group.append_replies, placed).await;
        #[cfg(feature = "failpoints")]
        wa_core::faults::pass("before_commit");
        if new.len() + delivered.len() > 0 {
            // Before it can be seen: the relay may find the row in the table and tell of it sooner than this goes on.
            self.db.deferral().note(true);
        }
        let committed = connection.execute(Statement::fixed("COMMIT")).await;
        if !wa_core::faults::planted("failed_commit_acknowledged") {
            committed?;
        }
        #[cfg(feature = "failpoints")]
        wa_core::faults::pass("after_commit");
        self.swept = self.swept.max(done);
        self.handoff.swept(self.swept);
        self.deferred.forget(applied);
        self.knows_deferred = true;
        if let Some(position) = position
            && new.len() + delivered.len() > 0
        {
            self.deferred.push(position.id, new, delivered);
        }
        if !defers {
            self.forget();
        }
        if self.deferred.is_empty() {
            self.db.deferral().note(false);
        }
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
        self.deferred = Deferred::load(&mut connection).await?;
        self.db.deferral().note(!self.deferred.is_empty());
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
