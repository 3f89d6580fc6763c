//! A room's feed from a given position: what was missed, then what happens.
//!
//! The subscription is confirmed before the catch-up is read, so a change that
//! falls between the two comes twice and is dropped by its revision. The other
//! order would lose it.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use rand::Rng as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

use super::{
    hub::{Hub, Subscription},
    mailbox::{Backlog, Mail},
};
use crate::{
    domain::{CatchUp, Event, EventKind, Position, RoomCode},
    repository::{Refusal, RepositoryError, Since},
};

/// How long to wait before a catch-up that failed is tried again, jittered.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How many authors of changes are kept for the next catch-up: as many as there
/// may be events in the mailbox.
const MOST_AUTHORS: usize = 256;

/// The least time between two looks at whether a room has expired.
const EXPIRY_PAUSE: Duration = Duration::from_millis(20);

/// How much later than by the store's clock a room's end may be expected here: what
/// moved it took its time to come. A room that is deleted says so itself.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What a watch gives.
#[derive(Clone, Debug)]
pub enum Frame {
    /// What was missed; live from here on.
    CaughtUp(Arc<CatchUp>, Vec<Author>),
    /// Something happened.
    Event(Arc<Event>),
    /// The watch has ended; the last frame.
    Closed(CloseReason),
}

/// Which session made a change that a catch-up holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The revision of the change.
    pub revision: u64,
    /// The session; empty where there was none.
    pub session_id: String,
}

/// Why a watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The room was deleted.
    Deleted,
    /// The room's time to live passed.
    Expired,
    /// The service is stopping.
    Draining,
    /// There was no such room when the watch began.
    NotFound,
    /// The store could not be read when the watch began.
    Unavailable,
    /// The store holds something unexpected in this room.
    Damaged,
}

/// One reader's feed of one room.
#[derive(Debug)]
pub struct Watch {
    hub: Hub,
    code: RoomCode,
    subscription: Subscription,
    /// What came while a catch-up was read, and was not in it.
    pending: VecDeque<Mail>,
    /// Who made the changes that the next catch-up will hold: a change too large
    /// for an event comes that way, and its author need not be shown it.
    authors: VecDeque<Author>,
    state: State,
    /// What the reader has; `None` until the first catch-up.
    position: Option<Position>,
    expires: Instant,
    /// How many catch-ups of one reader may be under way or waiting to be taken.
    places: Option<Arc<Semaphore>>,
    /// Held from before a catch-up is read until it has been taken.
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum State {
    /// A catch-up is to be read, from here.
    Behind(Since),
    Live,
    Closed,
}

impl Watch {
    /// Watches a room from a position, or from now on.
    pub fn new(hub: &Hub, code: RoomCode, after: Option<Position>) -> Self {
        Self::on_stream(hub, code, after, Backlog::default())
    }

    /// The same as one of many watches for one reader, whose mail waits in one
    /// backlog.
    pub fn on_stream(hub: &Hub, code: RoomCode, after: Option<Position>, backlog: Backlog) -> Self {
        Self {
            subscription: hub.subscribe(code, backlog),
            hub: hub.clone(),
            code,
            pending: VecDeque::new(),
            authors: VecDeque::new(),
            state: State::Behind(after.map_or(Since::Now, Since::Position)),
            position: None,
            expires: Instant::now(),
            places: None,
            place: None,
        }
    }

    /// How many messages a member who joins this room is shown.
    pub(crate) fn history_limit(&self) -> u32 {
        self.hub.history_limit
    }

    /// Reads a catch-up only where there is a place for it, which it keeps until
    /// the next frame is asked for.
    pub(crate) fn catch_up_within(&mut self, places: Arc<Semaphore>) {
        self.places = Some(places);
    }

    /// The next frame; `None` after `Closed`.
    ///
    /// Not to be dropped while it runs, unless the watch is dropped too.
    pub async fn next(&mut self) -> Option<Frame> {
        self.place = None;
        let draining = self.hub.draining.clone();
        let frame = tokio::select! {
            biased;
            () = draining.cancelled(), if !matches!(self.state, State::Closed) => {
                Some(Frame::Closed(CloseReason::Draining))
            }
            frame = self.advance() => frame,
        };
        if matches!(frame, Some(Frame::Closed(_))) {
            self.state = State::Closed;
        }
        frame
    }

    async fn advance(&mut self) -> Option<Frame> {
        loop {
            match self.state {
                State::Closed => return None,
                State::Behind(since) => {
                    if let Some(frame) = self.catch_up(since).await {
                        return Some(frame);
                    }
                }
                State::Live => {
                    if let Some(frame) = self.live().await {
                        return Some(frame);
                    }
                }
            }
        }
    }

    /// Reads what the reader lacks. `None`: try again.
    async fn catch_up(&mut self, since: Since) -> Option<Frame> {
        let catch_up = match self.read(since).await {
            Ok(Ok(catch_up)) => catch_up,
            Ok(Err(_)) => return Some(self.gone()),
            // It has been logged where it was read.
            Err(RepositoryError::Damaged(_)) => return Some(Frame::Closed(CloseReason::Damaged)),
            // A reader who has seen the room waits for the store to come back.
            Err(error) if self.position.is_some() => {
                tracing::debug!(room.code = %self.code, %error, "a catch-up is tried again");
                self.place = None;
                let jitter = rand::rng().random_range(0.5..1.5);
                sleep(RETRY_PAUSE.mul_f64(jitter)).await;
                return None;
            }
            Err(_) => return Some(Frame::Closed(CloseReason::Unavailable)),
        };
        let now = catch_up.room.position;
        if self.position.is_some_and(|known| known.epoch != now.epoch) {
            return Some(self.gone());
        }
        self.position = Some(now);
        self.expires = Instant::now() + Duration::from_millis(catch_up.ttl);
        self.state = State::Live;
        self.take_buffered(now);
        let mut authors = Vec::from(mem::take(&mut self.authors));
        if catch_up.reset {
            authors.clear();
        }
        Some(Frame::CaughtUp(catch_up, authors))
    }

    async fn read(
        &mut self,
        since: Since,
    ) -> Result<Result<Arc<CatchUp>, Refusal>, RepositoryError> {
        self.hub.repository.listen(self.code).await?;
        if let Some(places) = &self.places {
            // It is never closed.
            self.place = places.clone().acquire_owned().await.ok();
        }
        // What came before the read is sent is in what it answers.
        while let Some(mail) = self.pending.pop_front() {
            self.note_author(&mail);
        }
        while let Some(mail) = self.subscription.mailbox.next_now() {
            self.note_author(&mail);
        }
        self.hub.catch_ups.read(self.code, since).await
    }

    /// Keeps of the mail that came meanwhile what the catch-up does not hold.
    /// Only this mail is dropped by revision: later, an old revision is a fork.
    fn take_buffered(&mut self, now: Position) {
        while let Some(mail) = self.subscription.mailbox.next_now() {
            let is_news = match &mail {
                Mail::Event(event) => {
                    let position = event.position;
                    matches!(event.kind, EventKind::Signal { .. })
                        || (position.epoch == now.epoch && position.revision > now.revision)
                }
                // Events may have been lost since the read was sent.
                Mail::Interrupted => true,
                // The next comparison says more.
                Mail::Stored(_) => false,
            };
            if is_news {
                self.pending.push_back(mail);
            } else {
                self.note_author(&mail);
            }
        }
    }

    /// Remembers who made a change of the board that is dropped here, because a
    /// catch-up holds it.
    fn note_author(&mut self, mail: &Mail) {
        let Mail::Event(event) = mail else { return };
        if !matches!(event.kind, EventKind::Whiteboard(_) | EventKind::Omitted) {
            return;
        }
        if self.authors.len() >= MOST_AUTHORS {
            self.authors.pop_front();
        }
        self.authors.push_back(Author {
            revision: event.position.revision,
            session_id: event.session_id.clone(),
        });
    }

    /// Gives the next piece of mail. `None`: there was nothing for the reader.
    async fn live(&mut self) -> Option<Frame> {
        let mail = match self.pending.pop_front() {
            Some(mail) => mail,
            None => match timeout_at(self.expires, self.subscription.mailbox.next()).await {
                Ok(mail) => mail,
                Err(_elapsed) => return self.look_for_expiry().await,
            },
        };
        match mail {
            Mail::Event(event) => self.judge(event),
            Mail::Interrupted => {
                self.fall_behind();
                None
            }
            Mail::Stored(stored) => self.compare(stored),
        }
    }

    /// Whether an event follows what the reader has.
    fn judge(&mut self, event: Arc<Event>) -> Option<Frame> {
        if matches!(event.kind, EventKind::Signal { .. }) {
            return Some(Frame::Event(event));
        }
        let known = self.position?;
        let next = event.position;
        if next.epoch != known.epoch {
            // A newer room has this code; an older one's event came late.
            return (next.epoch > known.epoch).then(|| self.gone());
        }
        if matches!(event.kind, EventKind::Deleted) {
            return Some(Frame::Closed(CloseReason::Deleted));
        }
        if event.previous == known.revision && next.revision > known.revision {
            if matches!(event.kind, EventKind::Omitted) {
                self.note_author(&Mail::Event(event));
                self.fall_behind();
                return None;
            }
            self.position = Some(next);
            let life = event.expire_time.saturating_sub(event.create_time());
            self.expires = Instant::now() + Duration::from_millis(life);
            return Some(Frame::Event(event));
        }
        if event.previous > known.revision {
            self.fall_behind();
        } else {
            // The history forked: a failover lost what this reader has seen. A
            // zero position asks for everything.
            self.state = State::Behind(Since::Position(Position::ZERO));
        }
        None
    }

    /// Compares what the reader has with where the store is.
    fn compare(&mut self, stored: Option<Position>) -> Option<Frame> {
        let known = self.position?;
        match stored {
            None => {
                // It may have ended and come again meanwhile; reading tells.
                self.fall_behind();
            }
            Some(stored) if stored.epoch != known.epoch => return Some(self.gone()),
            Some(stored) if stored.revision > known.revision => self.fall_behind(),
            Some(_) => {}
        }
        None
    }

    /// Ends the watch if the room's time has passed.
    async fn look_for_expiry(&mut self) -> Option<Frame> {
        match self.hub.repository.room(self.code).await {
            Ok(Ok(stats))
                if self
                    .position
                    .is_some_and(|known| known.epoch == stats.room.position.epoch) =>
            {
                self.expires = Instant::now() + Duration::from_millis(stats.ttl).max(EXPIRY_PAUSE);
                None
            }
            Ok(_) => Some(self.gone()),
            Err(error) => {
                tracing::debug!(room.code = %self.code, %error, "an expiry is looked at again");
                self.expires = Instant::now() + RETRY_PAUSE;
                None
            }
        }
    }

    fn fall_behind(&mut self) {
        if let Some(position) = self.position {
            self.state = State::Behind(Since::Position(position));
        }
    }

    /// How the room that the reader knew has ended.
    fn gone(&self) -> Frame {
        Frame::Closed(match self.position {
            None => CloseReason::NotFound,
            Some(_) if self.expires <= Instant::now() + ON_ITS_WAY => CloseReason::Expired,
            Some(_) => CloseReason::Deleted,
        })
    }
}
