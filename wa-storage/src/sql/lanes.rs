//! Writing where others write as well. What happens in chats goes down a few lanes, each with a connection of its own on
//! which whatever waits is committed as one group; a chat always takes the same lane, which keeps its order. All other work
//! is done in transactions of its own, side by side, so that nobody pays for what somebody else does. Chats are held by
//! their rows, in the order of their ids, and nothing is remembered from one transaction to the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::event::{Event, Fact};
use wa_core::ports::{Env, Stored};

use super::append::{self, Append, Heads, Placed};
use super::db::{Connection, Db};
use super::places::Places;
use super::postgres::LANES;
use super::receive::{self, Receive, Taken};
use super::relay::Handoff;
use super::statement::Statement;
use super::writer::{Failure, GROUP, Group, Hook, Intake, Job, QUEUE, Replies, TOO_SLOW, Tx, Work};

/// How long other work may take until whoever asked is told that nobody knows what becomes of it.
pub(super) const WORK_WITHIN: Duration = Duration::from_millis(4500);

/// How often a transaction is tried, and for how long: others may have been in its way, or the connection may have died.
const TRIES: u32 = 5;
const TRIES_WITHIN: Duration = Duration::from_secs(3);

/// The first pause between tries, which doubles.
const PAUSE: Duration = Duration::from_millis(5);

/// Why a transaction did not become durable.
enum Trouble {
    /// Nothing of it was stored, and another try may go better.
    Again(StoreError),
    /// Nothing of it was stored.
    Undone(StoreError),
    /// Nobody knows.
    Unknown(StoreError),
}

impl Trouble {
    fn error(self) -> StoreError {
        match self {
            Self::Again(error) | Self::Undone(error) => error,
            // Whatever the server said of the commit, the transaction may stand.
            Self::Unknown(error) => StoreError { kind: StoreErrorKind::Unavailable, ..error },
        }
    }
}

/// Counts tries.
struct Tries {
    left: u32,
    until: Instant,
    pause: Duration,
}

impl Tries {
    fn new() -> Self {
        Self { left: TRIES - 1, until: Instant::now() + TRIES_WITHIN, pause: PAUSE }
    }

    /// Rests a little before the next one; `false` if there is none.
    async fn next(&mut self) -> bool {
        if self.left == 0 || Instant::now() >= self.until {
            return false;
        }
        self.left -= 1;
        sleep(self.pause).await;
        self.pause *= 2;
        true
    }
}

/// Starts the lanes.
pub(super) fn start(db: &Arc<Db>, env: &Arc<dyn Env>, handoff: &Arc<Handoff>, places: &Arc<Places>) -> Vec<mpsc::Sender<Job>> {
    let lane = |_| {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let lane = Lane { db: Arc::clone(db), env: Arc::clone(env), handoff: Arc::clone(handoff), places: Arc::clone(places), connection: None };
        tokio::spawn(lane.run(jobs));
        queue
    };
    (0..LANES).map(lane).collect()
}

/// One of the lanes.
struct Lane {
    db: Arc<Db>,
    env: Arc<dyn Env>,
    handoff: Arc<Handoff>,
    places: Arc<Places>,
    connection: Option<Connection>,
}

/// The jobs of one transaction.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    receives: Vec<Receive>,
}

/// What became of the jobs of a group, in their order.
#[derive(Default)]
struct Done {
    placed: Vec<Stored<Placed>>,
    taken: Vec<Stored<Taken>>,
    events: Vec<Arc<Event>>,
}

impl Lane {
    async fn run(mut self, jobs: mpsc::Receiver<Job>) {
        let mut intake = Intake { jobs, closing: None };
        let mut jobs = Vec::with_capacity(GROUP);
        while intake.jobs.recv_many(&mut jobs, GROUP).await > 0 {
            let (Group { appends, receives, .. }, replies) = intake.sort(jobs.drain(..));
            self.settle(&Batch { appends, receives }, replies, &mut intake).await;
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "a connection was not closed cleanly");
        }
        if let Some(reply) = intake.closing {
            let _ = reply.send(Ok(()));
        }
    }

    async fn settle(&mut self, group: &Batch, replies: Replies, intake: &mut Intake) {
        if group.appends.is_empty() && group.receives.is_empty() {
            return;
        }
        let jobs = group.appends.len() + group.receives.len();
        let replies = Mutex::new(replies);
        let take_replies = || std::mem::take(&mut *replies.lock().unwrap_or_else(PoisonError::into_inner));
        let too_slow = Failure::from(StoreError::unavailable(self.db.dialect().name(), TOO_SLOW));
        let (handoff, places) = (Arc::clone(&self.handoff), Arc::clone(&self.places));
        match intake.keep_answering(self.commit(group), &too_slow, || take_replies().fail(&too_slow)).await {
            Ok(done) => {
                // Before anybody is told of them, as they are confirmed at once.
                places.insert(done.events.iter().filter_map(|event| match &event.fact {
                    Fact::MessageNew(new) => Some(new.located()),
                    _ => None,
                }));
                handoff.committed(&done.events);
                #[cfg(feature = "failpoints")]
                wa_core::faults::pass("before_answer");
                take_replies().succeed(done.placed, done.taken);
            }
            Err(trouble) => {
                let error = trouble.error();
                tracing::error!(%error, jobs, "a group of writes failed");
                take_replies().fail(&Failure::from(error));
            }
        }
    }

    /// Commits a group; one that fails for what is in it is taken apart, so that only that fails.
    async fn commit(&mut self, group: &Batch) -> Result<Done, Trouble> {
        let trouble = match self.try_commit(group).await {
            Ok(done) => return Ok(done),
            Err(trouble) => trouble,
        };
        let is_of_one = group.appends.len() + group.receives.len() == 1;
        match trouble {
            Trouble::Again(error) | Trouble::Undone(error) if error.kind == StoreErrorKind::Other && !is_of_one => {
                tracing::warn!(%error, "a group of writes failed; its jobs are tried one by one");
            }
            trouble => return Err(trouble),
        }
        let mut all = Done::default();
        for append in &group.appends {
            let alone = Batch { appends: vec![append.clone()], ..Batch::default() };
            match self.try_commit(&alone).await {
                Ok(done) => {
                    all.placed.extend(done.placed);
                    all.events.extend(done.events);
                }
                Err(trouble) => all.placed.push(Err(trouble.error())),
            }
        }
        for receive in &group.receives {
            let alone = Batch { receives: vec![receive.clone()], ..Batch::default() };
            match self.try_commit(&alone).await {
                Ok(done) => {
                    all.taken.extend(done.taken);
                    all.events.extend(done.events);
                }
                Err(trouble) => all.taken.push(Err(trouble.error())),
            }
        }
        Ok(all)
    }

    async fn try_commit(&mut self, group: &Batch) -> Result<Done, Trouble> {
        let mut tries = Tries::new();
        loop {
            match self.commit_once(group).await {
                Err(Trouble::Again(error)) if tries.next().await => tracing::debug!(%error, "a group of writes is tried again"),
                outcome => return outcome,
            }
        }
    }

    async fn commit_once(&mut self, group: &Batch) -> Result<Done, Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.db.writer().await.map_err(Trouble::Undone)?,
        };
        let outcome = store(&mut connection, group, &*self.env).await;
        self.connection = match &outcome {
            Ok(_) => Some(connection),
            Err(_) => take_back(connection).await,
        };
        outcome
    }
}

/// Stores a group in one transaction.
async fn store(connection: &mut Connection, group: &Batch, env: &dyn Env) -> Result<Done, Trouble> {
    let (mut events, mut hooks) = (Vec::new(), Vec::new());
    let stored: Stored<_> = async {
        begin(connection).await?;
        let mut tx = Tx::over(connection, &mut events, &mut hooks);
        let mut heads = Heads::new();
        // All chats at once and in one order, so that no two transactions wait for each other.
        let chats = group.appends.iter().map(|append| append.view.chat_id).chain(group.receives.iter().map(|receive| receive.receipt.chat_id));
        append::load_heads(&mut tx, &mut heads, chats).await?;
        let placed = append::append_all(&mut tx, &mut heads, group.appends.clone()).await?;
        let taken = receive::receive_all(&mut tx, &group.receives).await?;
        announce(&mut tx, env).await?;
        Ok((placed, taken))
    }
    .await;
    let (placed, taken) = stored.map_err(|error| judge(connection, error))?;
    end(connection).await?;
    Ok(Done { placed, taken: taken.into_iter().map(Ok).collect(), events })
}

async fn begin(connection: &mut Connection) -> Stored<()> {
    connection.take_failed();
    let begin = connection.dialect().begin();
    connection.execute(Statement::fixed(begin)).await.map(drop)
}

/// Leaves the events of the transaction in the outbox. Its chats are held, so the rows of each are in its order; and whoever
/// sees one sees all before it.
async fn announce(tx: &mut Tx<'_>, env: &dyn Env) -> Stored<()> {
    let Some(events) = tx.announced().map_err(|error| StoreError::other(tx.dialect().name(), error))? else {
        return Ok(());
    };
    tx.execute(Statement::fixed("INSERT INTO outbox (events, created_at) VALUES ($1, $2)").bind(events).bind(env.now())).await.map(drop)
}

/// Commits. If that fails, nobody knows whether it happened.
async fn end(connection: &mut Connection) -> Result<(), Trouble> {
    #[cfg(feature = "failpoints")]
    wa_core::faults::pass("before_commit");
    if connection.take_failed().any {
        return Err(Trouble::Undone(StoreError::other(connection.dialect().name(), "a statement of the transaction failed")));
    }
    connection.execute(Statement::fixed("COMMIT")).await.map_err(Trouble::Unknown)?;
    #[cfg(feature = "failpoints")]
    wa_core::faults::pass("after_commit");
    Ok(())
}

/// What an error before the commit means.
fn judge(connection: &mut Connection, error: StoreError) -> Trouble {
    if connection.take_failed().passing || connection.is_broken() { Trouble::Again(error) } else { Trouble::Undone(error) }
}

/// Takes the transaction back. Returns the connection if it can still be used.
async fn take_back(mut connection: Connection) -> Option<Connection> {
    if !connection.is_broken() && connection.execute(Statement::fixed("ROLLBACK")).await.is_ok() {
        return Some(connection);
    }
    connection.abandon().await;
    None
}

/// Does other work, each in a transaction of its own.
pub(super) struct Apart {
    db: Arc<Db>,
    env: Arc<dyn Env>,
    handoff: Arc<Handoff>,
    /// For so many that wait or are being done.
    room: Arc<Semaphore>,
}

impl std::fmt::Debug for Apart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apart").finish_non_exhaustive()
    }
}

impl Apart {
    pub(super) fn new(db: Arc<Db>, env: Arc<dyn Env>, handoff: Arc<Handoff>) -> Self {
        Self { db, env, handoff, room: Arc::new(Semaphore::new(QUEUE)) }
    }

    /// Begins the work, which answers by itself. It goes on if whoever asked goes away.
    pub(super) fn begin(self: &Arc<Self>, work: Box<dyn Work>) -> Stored<()> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        let room = room.map_err(|_| StoreError::unavailable(self.db.dialect().name(), "too many writes wait for the database"))?;
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.finish(work).await;
            drop(room);
        });
        Ok(())
    }

    async fn finish(&self, mut work: Box<dyn Work>) {
        let mut hooks = Vec::new();
        let mut tries = Tries::new();
        let outcome = loop {
            match self.try_once(&mut *work, &mut hooks).await {
                Ok(true) if tries.next().await => tracing::debug!("a transaction that others were in the way of is tried again"),
                Err(Trouble::Again(error)) if tries.next().await => tracing::debug!(%error, "a transaction is tried again"),
                outcome => break outcome,
            }
        };
        hooks.into_iter().for_each(|hook| hook());
        match outcome {
            Ok(_) => work.answer(None),
            Err(trouble) => {
                let error = trouble.error();
                tracing::warn!(%error, "a transaction failed");
                work.answer(Some(&Failure::from(error)));
            }
        }
    }

    /// Does the work; `Ok` if its own result is the answer, with whether another try may give a better one.
    async fn try_once(&self, work: &mut dyn Work, hooks: &mut Vec<Hook>) -> Result<bool, Trouble> {
        let mut connection = self.db.borrow().await.map_err(Trouble::Undone)?;
        // A connection may have died in the pool; nothing was done on it.
        if let Err(error) = begin(&mut connection).await {
            let trouble = judge(&mut connection, error);
            take_back(connection).await;
            return Err(trouble);
        }
        let mut events = Vec::new();
        let mut tx = Tx::over(&mut connection, &mut events, hooks);
        if !work.run(&mut tx).await {
            let may_go_better = connection.take_failed().passing || connection.is_broken();
            take_back(connection).await;
            return Ok(may_go_better);
        }
        let outcome = match announce(&mut tx, &*self.env).await {
            Ok(()) => end(&mut connection).await,
            Err(error) => Err(Trouble::Undone(error)),
        };
        match outcome {
            Ok(()) => {
                self.handoff.committed(&events);
                Ok(false)
            }
            Err(trouble) => {
                take_back(connection).await;
                Err(trouble)
            }
        }
    }
}
