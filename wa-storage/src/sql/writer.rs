//! The one writer with group commit: whatever waits is taken together and committed as one transaction, then everybody
//! is answered. A failing piece of work fails alone; a failing commit fails the whole group and costs the connection.
//! Messages and deliveries of a group that holds nothing else are only written to the outbox; see `deferred.rs`. Where
//! others write as well, the jobs go other ways; see `lanes.rs`.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::event::{Cause, Event, Fact};
use wa_core::id::{ChatId, UserId};
use wa_core::ports::{Env, Stored};

use super::append::{self, Append, Heads, Placed};
use super::copier::Copier;
use super::db::{Connection, Db, Dialect, LogWork, Row};
use super::deferred::Deferred;
#[cfg(feature = "postgres")]
use super::lanes::{self, Apart};
use super::places::Places;
use super::receive::{self, MarksOf, Receive, Taken};
use super::relay::{Handoff, Position};
use super::statement::{Statement, Value};

/// Jobs that may wait for the writer.
pub(super) const QUEUE: usize = 4096;

/// Jobs committed as one transaction, at the most.
pub(super) const GROUP: usize = 256;

/// Groups after which the length of the log is looked at.
const LOOK_AT_LOG: u32 = 8;

/// How long a job may wait for a place in the queue.
const PLACE_WITHIN: Duration = Duration::from_secs(1);

/// How long a group may take until those in it are told that nobody knows what becomes of it. A job may wait for one group
/// before its own, and for a place before that; all of it stays below the 5 s within which everything is answered.
const ANSWER_WITHIN: Duration = Duration::from_millis(1750);

/// Counters and marks kept at hand between groups, of chats and of their participants.
const AT_HAND: usize = 100_000;

pub(super) const TOO_SLOW: &str = "the database did not take a write in time";

/// A future that borrows the transaction it works in.
pub(crate) type InTx<'t, T> = Pin<Box<dyn Future<Output = Stored<T>> + Send + 't>>;

/// What runs once the outcome of the transaction is known to the database, before anybody is answered.
pub(super) type Hook = Box<dyn FnOnce() + Send>;

/// The way to the writer.
pub(crate) struct Writer {
    /// One for everything; or several, of which each has its chats, and `apart` for other work.
    queues: Vec<mpsc::Sender<Job>>,
    #[cfg(feature = "postgres")]
    apart: Option<Arc<Apart>>,
    env: Arc<dyn Env>,
    backend: &'static str,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("backend", &self.backend).finish_non_exhaustive()
    }
}

pub(super) enum Job {
    Append(Box<Append>, oneshot::Sender<Stored<Placed>>),
    Receive(Receive, oneshot::Sender<Stored<Taken>>),
    Work(Box<dyn Work>),
    /// Bring everything committed to its tables.
    Settle(oneshot::Sender<Stored<()>>),
    Close(oneshot::Sender<Stored<()>>),
}

impl Writer {
    /// Starts the writer's task. It ends with [`Self::close`], or when the last handle is gone.
    pub(super) fn start(db: Arc<Db>, env: Arc<dyn Env>, handoff: Handoff, places: Arc<Places>) -> Self {
        let backend = db.dialect().name();
        #[cfg(feature = "postgres")]
        if db.dialect().is_shared() {
            let handoff = Arc::new(handoff);
            let queues = lanes::start(&db, &env, &handoff, &places);
            return Self { queues, apart: Some(Arc::new(Apart::new(db, Arc::clone(&env), handoff))), env, backend };
        }
        let (queue, jobs) = mpsc::channel(QUEUE);
        db.deferral().of(queue.downgrade());
        let task = Task {
            db,
            env: Arc::clone(&env),
            handoff,
            places,
            connection: None,
            unsettled: false,
            groups: 0,
            copier: Copier::default(),
            last_outbox_id: 0,
            swept: 0,
            heads: Heads::new(),
            marks: MarksOf::new(),
            deferred: Deferred::default(),
            knows_deferred: false,
        };
        tokio::spawn(task.run(jobs));
        Self {
            queues: vec![queue],
            env,
            #[cfg(feature = "postgres")]
            apart: None,
            backend,
        }
    }

    /// The queue for what happens in a chat: always the same for one, as its jobs are done in the order in which they come.
    fn queue_of(&self, chat: ChatId) -> &mpsc::Sender<Job> {
        let index = if self.queues.len() > 1 { usize::try_from(chat.as_uuid().as_u128() % self.queues.len() as u128).unwrap_or(0) } else { 0 };
        &self.queues[index]
    }

    /// The request for which whoever calls this does something, for the events of it.
    pub(super) fn cause(&self) -> Option<Box<Cause>> {
        self.env.cause()
    }

    /// Stores a message.
    pub(super) async fn append(&self, append: Append) -> Stored<Placed> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue_of(append.view.chat_id);
        self.submit(queue, Job::Append(Box::new(append), reply), answer).await
    }

    /// Takes a receipt.
    pub(super) async fn receive(&self, receive: Receive) -> Stored<Taken> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue_of(receive.receipt.chat_id);
        self.submit(queue, Job::Receive(receive, reply), answer).await
    }

    /// Does the work in a transaction, which it may share with other work. It is durable when this returns `Ok`; if it
    /// returns `Err`, nothing of it was done, unless the error is of kind `Unavailable`: then nobody knows. It is done again
    /// from the start if others were in its way.
    pub(crate) async fn run<T, F>(&self, work: F) -> Stored<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Clone + Send + 'static,
    {
        self.work(work, true).await
    }

    /// The same as [`Self::run`] for work that neither reads nor changes chats, messages, receipts, or who is in a chat. It
    /// does not wait for those.
    pub(crate) async fn run_apart<T, F>(&self, work: F) -> Stored<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Clone + Send + 'static,
    {
        self.work(work, false).await
    }

    async fn work<T, F>(&self, work: F, touches_chats: bool) -> Stored<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Clone + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(OneWork { work: Some(work), result: None, touches_chats, cause: self.cause(), reply });
        #[cfg(feature = "postgres")]
        if let Some(apart) = &self.apart {
            apart.begin(work)?;
            let answer = pin!(answer);
            return match within(lanes::WORK_WITHIN, answer).await {
                Some(answered) => answered.unwrap_or_else(|_| Err(StoreError::unavailable(self.backend, "the store was closed before it answered"))),
                None => Err(StoreError::unavailable(self.backend, TOO_SLOW)),
            };
        }
        // Its answer is with the work, which may be stuck half-way.
        let submitted = pin!(self.submit(&self.queues[0], Job::Work(work), answer));
        within(PLACE_WITHIN + 2 * ANSWER_WITHIN, submitted).await.unwrap_or_else(|| Err(StoreError::unavailable(self.backend, TOO_SLOW)))
    }

    /// Commits what waits, refuses what comes later, and closes the connections.
    pub(crate) async fn close(&self) -> Stored<()> {
        let mut closed = Ok(());
        for queue in &self.queues {
            let (reply, answer) = oneshot::channel();
            if queue.send(Job::Close(reply)).await.is_ok() {
                closed = closed.and(answer.await.unwrap_or(Ok(())));
            }
        }
        closed
    }

    async fn submit<T>(&self, queue: &mpsc::Sender<Job>, job: Job, answer: oneshot::Receiver<Stored<T>>) -> Stored<T> {
        let unavailable = |why: &'static str| StoreError::unavailable(self.backend, why);
        if let Err(refused) = queue.try_send(job) {
            let mpsc::error::TrySendError::Full(job) = refused else {
                return Err(unavailable("the store is closed"));
            };
            match timeout(PLACE_WITHIN, queue.send(job)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(unavailable("the store is closed")),
                Err(_) => return Err(unavailable("the queue of the writer is full")),
            }
        }
        // No timer for each: the writer has one for the whole group.
        answer.await.unwrap_or_else(|_| Err(unavailable("the store was closed before it answered")))
    }
}

/// Waits so long at the most, by the clock of the world: where a test moves the other one, the disk is none the slower.
async fn within<T>(limit: Duration, mut doing: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let started = Instant::now();
    loop {
        match timeout(limit, doing.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if started.elapsed() >= limit => return None,
            Err(_) => {}
        }
    }
}

/// Reads as if everything deferred were in its tables, and leaves it where it is: on a connection of its own, in a
/// transaction that is taken back, so that nothing need be written. For a disk that takes nothing.
pub(super) async fn read_through(db: &Db, statement: Statement) -> Stored<Vec<Row>> {
    let mut connection = db.writer().await?;
    connection.execute(Statement::fixed(connection.dialect().begin())).await?;
    let deferred = Deferred::load(&mut connection).await?;
    let (mut events, mut hooks) = (Vec::new(), Vec::new());
    let mut tx = Tx { connection: &mut connection, events: &mut events, hooks: &mut hooks, cause: None };
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
    /// The request for which the present piece of work is done.
    cause: Option<Box<Cause>>,
}

impl<'a> Tx<'a> {
    #[cfg(feature = "postgres")]
    pub(super) const fn over(connection: &'a mut Connection, events: &'a mut Vec<Arc<Event>>, hooks: &'a mut Vec<Hook>) -> Self {
        Self { connection, events, hooks, cause: None }
    }

    /// Keeps a chat from changing until the transaction ends. Where there is one writer, nothing changes meanwhile.
    pub(super) async fn hold_chat(&mut self, chat: ChatId) -> Stored<()> {
        if self.dialect().is_shared() {
            self.fetch(Statement::fixed("SELECT 1 FROM chats WHERE id = $1 FOR NO KEY UPDATE").bind(chat)).await?;
        }
        Ok(())
    }

    /// Keeps an account from changing until the transaction ends.
    pub(super) async fn hold_user(&mut self, user: UserId) -> Stored<()> {
        if self.dialect().is_shared() {
            self.fetch(Statement::fixed("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE").bind(user)).await?;
        }
        Ok(())
    }

    /// Keeps others who hold this name waiting until the transaction ends.
    pub(super) async fn hold_name(&mut self, name: &str) -> Stored<()> {
        if self.dialect().is_shared() {
            self.fetch(Statement::fixed("SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 0))) AS held").bind(name)).await?;
        }
        Ok(())
    }

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

    /// The events to be left in the outbox, as they are written there; `None` if there are none.
    #[cfg(feature = "postgres")]
    pub(super) fn announced(&self) -> serde_json::Result<Option<String>> {
        if self.events.is_empty() { Ok(None) } else { serde_json::to_string(&*self.events).map(Some) }
    }

    /// Leaves an event in the outbox of the transaction.
    pub(crate) fn announce(&mut self, event: impl Into<Arc<Event>>) {
        let mut event = event.into();
        if event.cause.is_none() && self.cause.is_some() {
            Arc::make_mut(&mut event).cause.clone_from(&self.cause);
        }
        self.events.push(event);
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
    cause: Option<Box<Cause>>,
    reply: oneshot::Sender<Stored<T>>,
}

impl<T, F> Work for OneWork<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> InTx<'t, T> + Clone + Send + 'static,
{
    fn touches_chats(&self) -> bool {
        self.touches_chats
    }

    /// Returns whether it went well.
    fn run<'t>(&'t mut self, tx: &'t mut Tx<'_>) -> Pin<Box<dyn Future<Output = bool> + Send + 't>> {
        Box::pin(async move {
            // Where others write as well, it may have to be done again.
            let work = if tx.dialect().is_shared() { self.work.clone() } else { self.work.take() };
            if let Some(work) = work {
                tx.cause.clone_from(&self.cause);
                self.result = Some(work(tx).await);
                tx.cause = None;
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
    connection: Option<Connection>,
    /// Whether the last connection was lost to a failed read, write or sync.
    unsettled: bool,
    /// Groups since the length of the log was looked at.
    groups: u32,
    copier: Copier,
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
pub(super) struct Group {
    pub(super) appends: Vec<Append>,
    pub(super) receives: Vec<Receive>,
    works: Vec<Box<dyn Work>>,
    settles: bool,
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

/// Who is to be told what became of a group, in the order of its jobs; works know by themselves.
#[derive(Default)]
pub(super) struct Replies {
    appends: Vec<oneshot::Sender<Stored<Placed>>>,
    receives: Vec<oneshot::Sender<Stored<Taken>>>,
    settles: Vec<oneshot::Sender<Stored<()>>>,
}

impl Replies {
    // Whoever asked may have given up by now, which is why no answer minds whether it is heard.

    pub(super) fn succeed(self, placed: Vec<Stored<Placed>>, taken: impl IntoIterator<Item = Stored<Taken>>) {
        for (reply, placed) in self.appends.into_iter().zip(placed) {
            let _ = reply.send(placed);
        }
        for (reply, taken) in self.receives.into_iter().zip(taken) {
            let _ = reply.send(taken);
        }
        for reply in self.settles {
            let _ = reply.send(Ok(()));
        }
    }

    pub(super) fn fail(self, failure: &Failure) {
        for reply in self.appends {
            let _ = reply.send(Err(failure.error()));
        }
        for reply in self.receives {
            let _ = reply.send(Err(failure.error()));
        }
        for reply in self.settles {
            let _ = reply.send(Err(failure.error()));
        }
    }
}

/// Where jobs come from, and who wants to know when that is over.
pub(super) struct Intake {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) closing: Option<oneshot::Sender<Stored<()>>>,
}

impl Intake {
    pub(super) fn sort(&mut self, jobs: impl Iterator<Item = Job>) -> (Group, Replies) {
        let (mut group, mut replies) = (Group::default(), Replies::default());
        for job in jobs {
            match job {
                Job::Append(append, reply) => {
                    group.appends.push(*append);
                    replies.appends.push(reply);
                }
                Job::Receive(receive, reply) => {
                    group.receives.push(receive);
                    replies.receives.push(reply);
                }
                Job::Work(work) => group.works.push(work),
                Job::Settle(reply) => {
                    group.settles = true;
                    replies.settles.push(reply);
                }
                // What was queued before is still served; the channel then ends.
                Job::Close(reply) => {
                    self.jobs.close();
                    self.closing = Some(reply);
                }
            }
        }
        (group, replies)
    }

    /// Lets the writer do this, however long it takes; but if it takes too long, says so, and refuses whatever comes
    /// until it is done.
    pub(super) async fn keep_answering<T>(&mut self, doing: impl Future<Output = T>, failure: &Failure, when_late: impl FnOnce()) -> T {
        let mut doing = pin!(doing);
        if let Some(done) = within(ANSWER_WITHIN, doing.as_mut()).await {
            return done;
        }
        tracing::error!("the database takes too long; writes are refused until it is done");
        when_late();
        tokio::select! {
            done = &mut doing => done,
            () = self.refuse(failure) => doing.await,
        }
    }

    /// Refuses whatever comes. Returns when nothing can come any more.
    async fn refuse(&mut self, failure: &Failure) {
        while let Some(job) = self.jobs.recv().await {
            let (group, replies) = self.sort(std::iter::once(job));
            replies.fail(failure);
            group.works.into_iter().for_each(|work| work.answer(Some(failure)));
        }
    }
}

/// What a committed transaction gave.
struct Committed {
    placed: Vec<Stored<Placed>>,
    taken: Vec<Taken>,
    position: Option<Position>,
    events: Vec<Arc<Event>>,
}

impl Task {
    async fn run(mut self, jobs: mpsc::Receiver<Job>) {
        let mut intake = Intake { jobs, closing: None };
        let mut jobs = Vec::with_capacity(GROUP);
        while intake.jobs.recv_many(&mut jobs, GROUP).await > 0 {
            let (group, replies) = intake.sort(jobs.drain(..));
            self.settle(group, replies, &mut intake).await;
            let too_slow = self.too_slow();
            intake.keep_answering(self.shorten_log(), &too_slow, || ()).await;
        }
        self.settle_deferred(&mut intake).await;
        self.copier.close().await;
        let closed = match self.connection.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        };
        match intake.closing {
            Some(reply) => drop(reply.send(closed)),
            None => {
                if let Err(error) = closed {
                    tracing::warn!(%error, "the database was not closed cleanly; it recovers on its next start");
                }
            }
        }
    }

    fn too_slow(&self) -> Failure {
        StoreError::unavailable(self.db.dialect().name(), TOO_SLOW).into()
    }

    /// Commits a group and answers everybody in it. If that takes too long, they and those who come meanwhile are told
    /// that nobody knows, and it goes on: what is being committed can still become durable.
    async fn settle(&mut self, mut group: Group, replies: Replies, intake: &mut Intake) {
        let mut hooks = Vec::new();
        let jobs = group.appends.len() + group.receives.len() + group.works.len();
        let replies = Mutex::new(replies);
        let take_replies = || std::mem::take(&mut *replies.lock().unwrap_or_else(PoisonError::into_inner));
        let too_slow = self.too_slow();
        let outcome = intake.keep_answering(self.commit(&mut group, &replies, &mut hooks), &too_slow, || take_replies().fail(&too_slow)).await;
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
                take_replies().succeed(committed.placed, committed.taken.into_iter().map(Ok));
                group.works.into_iter().for_each(|work| work.answer(None));
            }
            Err(error) => {
                tracing::error!(%error, jobs, "a group of writes failed");
                self.let_go().await;
                let failure = Failure::from(error);
                take_replies().fail(&failure);
                group.works.into_iter().for_each(|work| work.answer(Some(&failure)));
            }
        }
    }

    /// Once in a while, and after everybody was answered, looks whether the log has grown long. Most of it is copied into the
    /// database file beside the commits.
    async fn shorten_log(&mut self) {
        self.groups += 1;
        if self.groups < LOOK_AT_LOG || !self.copier.is_idle() {
            return;
        }
        self.groups = 0;
        if let Err(error) = self.copy_log().await {
            tracing::error!(%error, "the log could not be copied into the database file; it grows until it can");
            self.let_go().await;
        }
    }

    async fn copy_log(&mut self) -> Stored<()> {
        if let Err(failed) = self.copier.finish().await {
            // The writer's connection is to the same file.
            self.unsettled |= failed.has_failed_io;
            return Err(failed.error);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match connection.log().await?.work(self.deferred.is_busy()) {
            LogWork::Nothing => Ok(()),
            LogWork::Copy => self.copier.start(&self.db).await,
            LogWork::Finish => connection.copy_log().await,
        }
    }

    /// Before the end; what cannot be brought to its tables now is at the next start.
    async fn settle_deferred(&mut self, intake: &mut Intake) {
        if !self.deferred.is_empty() {
            self.settle(Group { settles: true, ..Group::default() }, Replies::default(), intake).await;
        }
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

    #[cfg_attr(not(feature = "planted"), expect(unused_variables, reason = "a planted defect answers too early"))]
    async fn commit(&mut self, group: &mut Group, replies: &Mutex<Replies>, hooks: &mut Vec<Hook>) -> Stored<Committed> {
        let nothing = Committed { placed: Vec::new(), taken: Vec::new(), position: None, events: Vec::new() };
        if group.is_empty() && !group.settles {
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
        let needs_all = !defers || group.settles || !self.knows_deferred || self.deferred.may_hold(&group.appends);
        let applied = if needs_all { self.deferred.all() } else { self.deferred.due(group.appends.len() + group.receives.len()) };
        let Some(connection) = &mut self.connection else {
            return Err(StoreError::unavailable(self.db.dialect().name(), "no connection"));
        };
        let begin = connection.dialect().begin();
        connection.execute(Statement::fixed(begin)).await?;
        let mut events = Vec::new();
        let mut tx = Tx { connection, events: &mut events, hooks, cause: None };
        self.deferred.apply(&mut tx, applied).await?;
        let (mut new, mut delivered) = (Vec::new(), Vec::new());
        let appends = std::mem::take(&mut group.appends);
        let (placed, taken) = if defers {
            let (placed, stored) = append::place(&mut tx, &mut self.heads, appends).await?;
            let raised = receive::raise(&mut tx, &mut self.marks, &group.receives).await?;
            (new, delivered) = (stored, raised.events);
            tx.events.extend(new.iter().map(|new| &new.event).chain(&delivered).cloned());
            (placed, raised.taken)
        } else {
            (append::append_all(&mut tx, &mut Heads::new(), appends).await?, receive::receive_all(&mut tx, &group.receives).await?)
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
        let placed = answer_too_early(replies, placed).await;
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
        Ok(Committed { placed, taken, position, events })
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
async fn answer_too_early(replies: &Mutex<Replies>, placed: Vec<Stored<Placed>>) -> Vec<Stored<Placed>> {
    if !wa_core::faults::planted("ack_before_commit") {
        return placed;
    }
    let early = std::mem::take(&mut replies.lock().unwrap_or_else(PoisonError::into_inner).appends);
    for (reply, placed) in early.into_iter().zip(placed) {
        let _ = reply.send(placed);
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    Vec::new()
}
