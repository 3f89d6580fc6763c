//! The one thread that changes the file.
//!
//! It takes all calls that wait, applies them in their order in one transaction,
//! commits that to the disk once, tells what happened, and answers. While it
//! commits, the next calls gather: the more there are, the less of a commit each
//! of them costs.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redb::{Database, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    change::{Change, Told},
    clock::Clock,
    failure::Failure,
    file::{ROWS, RoomFile, Snapshot},
    keys::{self, Key},
    leases::Leases,
    record::Store,
    rows::Rows as _,
};
use crate::repository::{FeedSink, RepositoryError, RoomSettings};

/// How many calls may share a commit: more would make the first wait for the
/// last.
const CALLS_PER_COMMIT: usize = 256;

/// How many rows a step of the sweep removes: some milliseconds of work, for
/// which calls wait.
const ROWS_PER_STEP: usize = 1_000;

/// How often, at most, a full disk is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// How many bytes must have been removed before the file is written anew, however
/// little there is: below that nobody misses the space.
const LEAST_SWEPT: u64 = 1 << 20;

/// How many rows may be touched while a copy is written: these are written again
/// in one go, for which calls wait.
const MOST_TOUCHED: usize = 50_000;

/// Something for the thread to do.
pub(super) enum Order {
    Call(Box<dyn Call>),
    /// Ends rooms and removes what is left of them, until there is none; answers
    /// how many rooms ended.
    Sweep(oneshot::Sender<usize>),
    /// A copy of the file without gaps is written, or was not.
    Copied(Result<Database, Failure>),
    /// Closes the file.
    Close(oneshot::Sender<()>),
}

/// A call that changes something.
pub(super) trait Call: Send {
    /// Does what it wants, or decides not to. Fails where the engine does.
    fn apply(&mut self, change: &mut Change<'_>) -> Result<(), Failure>;

    /// Answers: it is done, or why not.
    fn answer(self: Box<Self>, done: Result<(), NotDone>);

    /// Whether it frees more than it takes, and so is tried on a full disk.
    fn frees(&self) -> bool;
}

/// Why a call's commit was not made.
#[derive(Clone, Copy, Debug)]
pub(super) enum NotDone {
    /// There is no space for it.
    Full,
    /// The file cannot be written any more; nothing was changed.
    Failed,
    /// The file failed under it: it may or may not be there.
    Unknown,
}

impl From<NotDone> for RepositoryError {
    fn from(reason: NotDone) -> Self {
        match reason {
            NotDone::Full => Self::Full,
            NotDone::Failed => Self::Unavailable("the file has failed".to_owned()),
            NotDone::Unknown => Self::OutcomeUnknown("the file failed".to_owned()),
        }
    }
}

/// A call as a closure, and who waits for its answer.
pub(super) struct Task<T, F> {
    pub(super) work: Option<F>,
    pub(super) outcome: Option<Result<T, RepositoryError>>,
    pub(super) reply: oneshot::Sender<Result<T, RepositoryError>>,
    pub(super) frees: bool,
}

impl<T, F> Call for Task<T, F>
where
    T: Send,
    F: FnOnce(&mut Change<'_>) -> Result<T, Failure> + Send,
{
    fn apply(&mut self, change: &mut Change<'_>) -> Result<(), Failure> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        self.outcome = Some(match work(change) {
            Ok(outcome) => Ok(outcome),
            Err(failure @ Failure::Damaged(_)) => Err(failure.into()),
            Err(failure @ Failure::Engine(_)) => return Err(failure),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, done: Result<(), NotDone>) {
        let answer = match (done, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(NotDone::Unknown.into()),
            (Err(reason), _) => Err(reason.into()),
        };
        // Whoever asked may have given up; the call is done all the same.
        drop(self.reply.send(answer));
    }

    fn frees(&self) -> bool {
        self.frees
    }
}

/// How far the thread is, for those who want to know that they have seen it all.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The commit that is under way, or was last.
    begun: AtomicU64,
    /// The last commit whose events have reached the sink, or that failed.
    told: watch::Sender<u64>,
}

impl Progress {
    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self) {
        self.told.send_replace(self.begun.load(Ordering::SeqCst));
    }

    /// Waits until the events of every commit that is to be seen by now have
    /// reached the sink.
    pub(super) async fn settle(&self) {
        // Read before the wait: later commits are for others to wait for.
        let begun = self.begun.load(Ordering::SeqCst);
        // It cannot close before this returns: the sender is borrowed here.
        drop(self.told.subscribe().wait_for(|told| *told >= begun).await);
    }
}

/// The thread's own state.
pub(super) struct Writer {
    pub(super) file: Arc<RoomFile>,
    pub(super) clock: Arc<Clock>,
    pub(super) leases: Arc<Leases>,
    pub(super) sink: Arc<dyn FeedSink>,
    pub(super) settings: RoomSettings,
    pub(super) progress: Arc<Progress>,
    pub(super) state: State,
    pub(super) store: Store,
    /// How many bytes sweeps have removed since the file was last written anew.
    pub(super) swept_bytes: u64,
    /// What was touched since a copy of the file was begun.
    pub(super) touched: Option<BTreeSet<Key>>,
    /// For the thread that writes the copy; weak, so that the callers alone
    /// decide how long there is something to do.
    pub(super) orders: mpsc::WeakSender<Order>,
}

/// Whether the store works, told to whoever asks. Dropped with the thread,
/// however that ends.
pub(super) struct State {
    pub(super) available: watch::Sender<bool>,
    pub(super) failed: CancellationToken,
}

impl Drop for State {
    fn drop(&mut self) {
        self.available.send_replace(false);
        if std::thread::panicking() {
            self.failed.cancel();
        }
    }
}

/// A sweep under way.
#[derive(Default)]
struct Sweep {
    rooms: usize,
    is_done: bool,
    waiting: Vec<oneshot::Sender<usize>>,
}

impl Writer {
    /// Serves orders until the file is closed or nobody can give any.
    pub(super) fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut sweep: Option<Sweep> = None;
        let mut full_since: Option<Instant> = None;
        loop {
            let mut calls = Vec::new();
            // A sweep goes on between the calls.
            let mut next = if sweep.is_some() {
                orders.try_recv().ok()
            } else {
                match orders.blocking_recv() {
                    Some(order) => Some(order),
                    None => break,
                }
            };
            while let Some(order) = next {
                match order {
                    Order::Call(call) => calls.push(call),
                    Order::Sweep(reply) => {
                        sweep.get_or_insert_default().waiting.push(reply);
                    }
                    Order::Copied(copy) => {
                        if let Err(failure) = self.take_copy(copy) {
                            tracing::error!(%failure, "the store has failed");
                            self.fail(&mut orders);
                            return;
                        }
                    }
                    Order::Close(reply) => {
                        self.file.close();
                        // Whoever asked may have given up waiting.
                        let _ = reply.send(());
                        return;
                    }
                }
                next = if calls.len() < CALLS_PER_COMMIT {
                    orders.try_recv().ok()
                } else {
                    None
                };
            }

            if let Some(since) = full_since {
                if since.elapsed() >= FULL_PAUSE && self.file.keep_reserve().is_ok() {
                    tracing::info!("there is space on the disk again: changes are taken");
                    full_since = None;
                } else {
                    calls = refuse_but_frees(calls);
                }
            }
            match self.commit(calls, &mut sweep) {
                Ok(()) => {}
                Err(NotDone::Full) => {
                    if full_since.is_none() {
                        tracing::error!("the disk is full: changes are refused, reads go on");
                    }
                    full_since = Some(Instant::now());
                    self.file.give_reserve();
                    // It is tried again when it is asked for again.
                    finish_sweep(&mut sweep);
                }
                Err(NotDone::Failed | NotDone::Unknown) => {
                    self.fail(&mut orders);
                    return;
                }
            }
        }
        self.file.close();
    }

    /// Says that the store is to be started anew, and answers nobody's wish any
    /// more.
    fn fail(&self, orders: &mut mpsc::Receiver<Order>) {
        self.state.available.send_replace(false);
        self.state.failed.cancel();
        refuse_all(orders);
    }

    /// Has the file written anew where most of it is gaps: where sweeps have
    /// removed half as much as there is, so that a copy costs at most twice what
    /// they freed.
    fn consider_copy(&mut self) {
        let living = self.store.bytes;
        let is_due = self.swept_bytes > (living / 2).max(LEAST_SWEPT)
            && self.touched.is_none()
            && self.file.length().is_ok_and(|length| length > 2 * living);
        if !is_due {
            return;
        }
        self.swept_bytes = 0;
        let Some(orders) = self.orders.upgrade() else {
            return;
        };
        let file = self.file.clone();
        let copying = std::thread::Builder::new()
            .name("rooms-copy".to_owned())
            .spawn(move || {
                // Whoever is to take it may have gone meanwhile; it is removed
                // when the store is opened.
                drop(orders.blocking_send(Order::Copied(file.write_copy())));
            });
        match copying {
            Ok(_) => self.touched = Some(BTreeSet::new()),
            Err(error) => tracing::warn!(%error, "the file is not written anew"),
        }
    }

    /// Puts the copy in the file's place, unless too much was touched meanwhile.
    /// Fails where it cannot go on with either.
    fn take_copy(&mut self, copy: Result<Database, Failure>) -> std::io::Result<()> {
        let abandoned = |failure: Option<Failure>| {
            if let Some(failure) = failure {
                tracing::warn!(%failure, "the file is not written anew");
            }
            self.file.remove_copy();
            Ok(())
        };
        let Some(touched) = self.touched.take() else {
            return abandoned(copy.err());
        };
        let copy = match copy {
            Ok(copy) => copy,
            Err(failure) => return abandoned(Some(failure)),
        };
        let before = self.file.length();
        if let Err(failure) = self.file.finish_copy(&copy, &touched) {
            drop(copy);
            return abandoned(Some(failure));
        }
        self.file.take_copy(copy)?;
        tracing::debug!(?before, after = ?self.file.length(), "the file was written anew");
        Ok(())
    }

    /// Makes one commit of these calls and a step of the sweep, tells what
    /// happened and answers.
    fn commit(
        &mut self,
        mut calls: Vec<Box<dyn Call>>,
        sweep: &mut Option<Sweep>,
    ) -> Result<(), NotDone> {
        if calls.is_empty() && sweep.is_none() {
            return Ok(());
        }
        let mut told = Told {
            touched: self.touched.is_some().then(Vec::new),
            ..Told::default()
        };
        let before = self.store.bytes;
        let done = match self.prepare(&mut calls, sweep.as_mut(), &mut told) {
            Ok(None) => Ok(()),
            Ok(Some((transaction, store))) => {
                self.progress.begin();
                match transaction.commit() {
                    Ok(()) => {
                        self.store = store;
                        Ok(())
                    }
                    Err(error) => self.recover(&error.into(), NotDone::Unknown),
                }
            }
            Err(failure) => self.recover(&failure, NotDone::Failed),
        };
        match done {
            Ok(()) => {
                for (code, event) in told.events {
                    self.sink.event(code, event);
                }
                if let (Some(all), Some(touched)) = (&mut self.touched, told.touched) {
                    all.extend(touched);
                    all.insert(keys::store());
                    if all.len() > MOST_TOUCHED {
                        tracing::debug!("too much changes for the file to be written anew");
                        self.touched = None;
                    }
                }
                if sweep.is_some() {
                    self.swept_bytes += before.saturating_sub(self.store.bytes);
                }
                if sweep.as_ref().is_some_and(|sweep| sweep.is_done) {
                    finish_sweep(sweep);
                    self.consider_copy();
                }
            }
            // Who was ended is there still, and so is their lease.
            Err(_) => {
                for (code, session, end) in told.ended {
                    self.leases.give(code, &session, end);
                }
            }
        }
        self.progress.end();
        for call in calls {
            call.answer(done);
        }
        done
    }

    /// Applies calls and a step of the sweep. `None`: they change nothing, since
    /// all were refused or done before.
    fn prepare(
        &self,
        calls: &mut [Box<dyn Call>],
        sweep: Option<&mut Sweep>,
        told: &mut Told,
    ) -> Result<Option<(WriteTransaction, Store)>, Failure> {
        let transaction = self.file.begin()?;
        let mut change = Change::new(
            transaction.open_table(ROWS)?,
            self.clock.now(),
            self.store,
            self.settings,
            &self.leases,
            told,
        );
        for call in calls {
            call.apply(&mut change)?;
        }
        if let Some(sweep) = sweep {
            let swept = change.sweep(ROWS_PER_STEP)?;
            sweep.rooms += swept.rooms;
            sweep.is_done = !swept.has_more();
        }
        match change.finish(self.store)? {
            Some(store) => Ok(Some((transaction, store))),
            None => {
                transaction.abort()?;
                Ok(None)
            }
        }
    }

    /// Opens the file again after a failure, and says what became of the commit.
    ///
    /// A full disk is no harm to what is stored. After any other failure nobody
    /// knows what the disk has: the store stops, and whoever starts it again has
    /// it checked.
    fn recover(&mut self, failure: &Failure, otherwise: NotDone) -> Result<(), NotDone> {
        if !failure.is_full() {
            tracing::error!(%failure, "the store has failed");
            return Err(otherwise);
        }
        tracing::debug!(%failure, "a commit did not find the space");
        self.touched = None;
        let stored = self
            .file
            .open_again()
            .and_then(|()| self.file.read(stored_state));
        match stored {
            Ok(stored) if stored.commit == self.store.commit => Err(NotDone::Full),
            // It reached the file and perhaps not the disk.
            Ok(_) => {
                tracing::error!(%failure, "the store has failed after a commit was written");
                Err(otherwise)
            }
            Err(failure) => {
                tracing::error!(%failure, "the store cannot be opened again");
                Err(otherwise)
            }
        }
    }
}

/// The state of the store as a whole; a new file has none yet.
pub(super) fn stored_state(rows: &Snapshot) -> Result<Store, Failure> {
    let row = rows.row(&keys::store())?;
    row.map_or(Ok(Store::default()), |row| Store::decode(row.value()))
}

fn finish_sweep(sweep: &mut Option<Sweep>) {
    if let Some(sweep) = sweep.take() {
        for reply in sweep.waiting {
            // Whoever asked may have given up waiting.
            let _ = reply.send(sweep.rooms);
        }
    }
}

fn refuse_but_frees(calls: Vec<Box<dyn Call>>) -> Vec<Box<dyn Call>> {
    let (kept, refused): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.frees());
    for call in refused {
        call.answer(Err(NotDone::Full));
    }
    kept
}

/// Answers everything that comes, so that nobody waits for a store that failed.
fn refuse_all(orders: &mut mpsc::Receiver<Order>) {
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Call(call) => call.answer(Err(NotDone::Failed)),
            Order::Copied(_) => {}
            // Whoever asked may have given up waiting.
            Order::Sweep(reply) => {
                let _ = reply.send(0);
            }
            Order::Close(reply) => {
                let _ = reply.send(());
                return;
            }
        }
    }
}
