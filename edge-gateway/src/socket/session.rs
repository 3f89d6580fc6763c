//! One socket: who it is in which room, and its events served one after another.

use std::{collections::HashMap, sync::Arc};

use tokio::time::{Duration, Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use super::{
    Gateway, dispatch,
    early::Early,
    inbox::{Inbox, Work, refuse},
    leases::Lease,
};
use crate::{
    contract::{Claim, ClientEvent, SyncMode},
    delivery::Outbox,
    error::Error,
    feed::{BoardPace, MemberKey, PumpHandle, Unread, UnreadEvent},
    values::RoomCode,
};

/// How many rooms a socket may be in.
pub(super) const MAX_ROOMS: usize = 100;

/// How long after its arrival, or after its wait for a join, an event is answered at the
/// latest: just longer than one call takes, so that its own answer comes first.
const ANSWER_WITHIN: Duration = Duration::from_millis(2_100);

/// How long events that came before a disconnect are still served.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What `join` bound a socket to.
#[derive(Debug)]
pub(super) struct Membership {
    /// What the service knows it by. Each membership has its own, so that the late end of
    /// one that is over does not end the one that came after it.
    pub(super) session_id: Arc<str>,
    pub(super) user_id: String,
    pub(super) username: String,
    pub(super) sync: SyncMode,
    pub(super) pump: PumpHandle,
    pub(super) lease: Lease,
}

/// One socket's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) gateway: Gateway,
    /// What the log knows this session by.
    pub(super) id: String,
    /// How many memberships it has begun.
    pub(super) begun: u64,
    /// What the pumps know it by.
    pub(super) key: MemberKey,
    pub(super) outbox: Outbox,
    /// Its changes and pointers that have arrived and that nobody has looked at.
    pub(super) unread: Unread,
    /// How often boards may be sent to it.
    pub(super) pace: BoardPace,
    /// Boxed, because a map makes place for several at once, and most sockets are in one.
    pub(super) rooms: HashMap<RoomCode, Box<Membership>>,
}

impl Session {
    /// Serves the queue until the socket is gone, or the gateway stops, and the queue is
    /// empty; then leaves.
    pub(super) async fn run(mut self, inbox: Arc<Inbox>, gone: CancellationToken) {
        let stopping = self.gateway.stopping.clone();
        let mut served_until = None;
        let mut is_closed = false;
        let mut early = Early::default();
        loop {
            let work = tokio::select! {
                // The queue first: a join that came in time may still be in it.
                biased;
                work = inbox.next() => work,
                () = stopping.cancelled(), if !is_closed => {
                    inbox.close();
                    is_closed = true;
                    continue;
                }
                now = until(early.deadline()) => {
                    self.serve_early(early.late(now)).await;
                    continue;
                }
            };
            let Some(work) = work else { break };
            if gone.is_cancelled() || stopping.is_cancelled() {
                // A socket that sends without a pause keeps the queue from being empty.
                inbox.close();
                let until = *served_until.get_or_insert_with(|| Instant::now() + AFTERMATH);
                if Instant::now() >= until {
                    debug!(session.id = %self.id, "events of a gone socket were dropped");
                    break;
                }
            }
            self.serve_early(early.late(work.received)).await;
            let Some(work) = early.hold(work) else {
                continue;
            };
            let is_join = work.event == ClientEvent::Join;
            // Boxed, because what serving takes is held only while something is served.
            Box::pin(self.serve(work)).await;
            if is_join {
                self.serve_early(early.end()).await;
            }
        }
        // No join can come any more.
        self.serve_early(early.end()).await;
        inbox.end();
        // Boxed for the same reason.
        Box::pin(self.leave_all()).await;
        // A gateway that stops closes the socket next.
        self.outbox.flush();
    }

    /// Serves events whose wait for a join has ended; without one they are refused.
    async fn serve_early(&mut self, works: impl IntoIterator<Item = Box<Work>>) {
        // The same for all: what waits for those before it has no longer than they have.
        let wait_ended = Instant::now();
        for mut work in works {
            work.served_from = wait_ended;
            Box::pin(self.serve(work)).await;
        }
    }

    async fn leave_all(&mut self) {
        for (room, membership) in self.rooms.drain() {
            let over = membership.pump.is_over();
            membership.pump.leave(self.key).await;
            if !over {
                self.gateway
                    .leave_surely(room, membership.user_id, membership.session_id);
            }
        }
    }

    async fn serve(&mut self, mut work: Box<Work>) {
        let unread = work.unread.take();
        let served = if work.has_binary {
            Err(Error::invalid("payload", "must have no binary attachments"))
        } else {
            self.serve_in_time(&work, unread).await
        };
        if let Err(error) = served {
            refuse(&self.outbox, &work.reply, work.event, &work.text, &error);
        }
    }

    /// Serves an event within the time in which it is to be answered, the wait for those
    /// before it counted: while the store hangs, each of them takes all of its time.
    async fn serve_in_time(
        &mut self,
        work: &Work,
        unread: Option<UnreadEvent>,
    ) -> Result<(), Error> {
        let answer_by = work.served_from + ANSWER_WITHIN;
        if Instant::now() >= answer_by {
            // It was never sent, so nothing was stored.
            return Err(Error::StoreUnavailable);
        }
        let serving = dispatch(self, work.event, &work.text, &work.reply, answer_by, unread);
        match work.event {
            // Given up half-way these would leave a member behind whom nobody knows; they
            // keep to the time themselves.
            ClientEvent::Join | ClientEvent::Leave => serving.await,
            ClientEvent::ChatMessage | ClientEvent::WhiteboardChange => {
                timeout_at(answer_by, serving)
                    .await
                    .unwrap_or(Err(Error::OutcomeUnknown))
            }
            // Nothing is stored, so there is no outcome to wonder about.
            ClientEvent::Typing
            | ClientEvent::StopTyping
            | ClientEvent::Pointer
            | ClientEvent::Unknown => timeout_at(answer_by, serving)
                .await
                .unwrap_or(Err(Error::StoreUnavailable)),
        }
    }

    /// The id of a membership that is about to begin.
    pub(super) fn next_session_id(&mut self) -> Arc<str> {
        self.begun += 1;
        format!("{}:{}", self.id, self.begun).into()
    }

    /// The membership that an event is sent under.
    ///
    /// # Errors
    ///
    /// [`Error::NotJoined`], or [`Error::IdentityMismatch`] where the event claims to be from
    /// another user than joined.
    pub(super) fn member(&self, claim: &Claim) -> Result<&Membership, Error> {
        let membership = self.rooms.get(&claim.room).ok_or(Error::NotJoined)?;
        match &claim.user_id {
            Some(user_id) if *user_id != membership.user_id => Err(Error::IdentityMismatch),
            Some(_) | None => Ok(membership),
        }
    }
}

/// Waits until `deadline` and returns it; for ever without one.
async fn until(deadline: Option<Instant>) -> Instant {
    match deadline {
        Some(deadline) => {
            sleep_until(deadline).await;
            deadline
        }
        None => std::future::pending().await,
    }
}

/// The request id of a write, and whether it was made here for this call alone.
pub(super) fn request_id(given: Option<String>) -> (String, bool) {
    match given {
        Some(id) => (id, false),
        None => (Uuid::new_v4().to_string(), true),
    }
}
