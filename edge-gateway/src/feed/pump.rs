//! The task that runs one room: it carries frames and commands into [`LiveRoom`] and what
//! comes out to sockets.

use std::{collections::HashMap, time::Duration};

use rand::Rng as _;
use roomkeeper_proto::v1::{self as proto, watch_rooms_response::Frame};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};
use tracing::debug;

use super::{
    ChangeAnswer, Joiner, MemberKey, NewChange, Refusal,
    live::{LiveRoom, Now, Output, Rewatch},
    stream::{Streams, Watching},
};
use crate::{
    delivery::{Outbox, Reply},
    error::Error,
    values::RoomCode,
};

/// Commands that may wait for a pump; whoever sends one more waits.
const COMMANDS: usize = 256;

/// The pause before a room that cannot be watched is tried again: first and longest. Before
/// the first try is none, once in the longest: another service may have the room, and each
/// message that comes meanwhile is one fewer that the history can still give.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The longest such pause while a join waits for the room: a service may restart within the
/// time that a join has.
const JOIN_BACKOFF: Duration = Duration::from_millis(250);

/// How long a join waits for the room's feed: nearly as long as its answer may take, because
/// a service may restart in the meantime.
const READY_TIMEOUT: Duration = Duration::from_millis(1_900);

/// What a pump is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Answer once the feed is live, or the room is known not to exist.
    Ready(oneshot::Sender<Result<(), Error>>),
    /// Answer once the joiner is in, or known not to come in.
    Join(Box<JoinRequest>, oneshot::Sender<Result<(), Refusal>>),
    /// Answer a join that waits: its time is over.
    GiveUp(MemberKey),
    Leave(MemberKey, oneshot::Sender<()>),
    /// Answer which elements of a full member's change the service has to see.
    ChangeCame(MemberKey, NewChange, oneshot::Sender<Option<Vec<bool>>>),
    ChangeEnded(MemberKey, Option<ChangeAnswer>),
    Pointed(MemberKey),
}

/// A joiner with what it is to be told by.
#[derive(Debug)]
pub(crate) struct JoinRequest {
    pub(crate) joiner: Joiner,
    pub(crate) outbox: Outbox,
    /// Sent right after the snapshot, before any event.
    pub(crate) reply: Reply,
}

/// A hold on a room's pump, which runs as long as somebody holds it or until the room is
/// over.
#[derive(Debug, Clone)]
pub(crate) struct PumpHandle {
    pub(super) commands: mpsc::Sender<Command>,
}

impl PumpHandle {
    /// Waits until the room's events are known here.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`]; [`Error::StoreUnavailable`] where that takes too long.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        let asked = async {
            if self.commands.send(Command::Ready(sender)).await.is_err() {
                return None;
            }
            receiver.await.ok()
        };
        match tokio::time::timeout(READY_TIMEOUT, asked).await {
            Ok(Some(answer)) => answer,
            // It ended between; the next attempt finds another pump.
            Ok(None) => Ok(()),
            Err(_elapsed) => Err(Error::StoreUnavailable),
        }
    }

    /// Brings a socket in. On success it has been shown the room and sent its ack, which may
    /// come about at the very moment at which its time is over.
    ///
    /// # Errors
    ///
    /// Why not; then it has been told nothing.
    pub(crate) async fn join(&self, request: JoinRequest, until: Instant) -> Result<(), Refusal> {
        let key = request.joiner.key;
        let (sender, receiver) = oneshot::channel();
        let command = Command::Join(Box::new(request), sender);
        match timeout_at(until, self.commands.send(command)).await {
            Ok(Ok(())) => {}
            Ok(Err(_ended)) => return Err(Refusal::Restart),
            Err(_elapsed) => return Err(Refusal::Late),
        }
        self.answer(key, receiver, until).await
    }

    /// The answer to a join, which is given up at `until`. Whether the joiner is in is for
    /// the pump to say even then: its ack may be on the way.
    async fn answer(
        &self,
        key: MemberKey,
        mut answer: oneshot::Receiver<Result<(), Refusal>>,
        until: Instant,
    ) -> Result<(), Refusal> {
        let answered = match timeout_at(until, &mut answer).await {
            Ok(answered) => answered,
            Err(_elapsed) => {
                // A pump that has ended has answered, or never will.
                let _ = self.commands.send(Command::GiveUp(key)).await;
                answer.await
            }
        };
        answered.unwrap_or(Err(Refusal::Restart))
    }

    /// Takes a socket out; when this returns nothing more of the room is told to it.
    pub(crate) async fn leave(&self, key: MemberKey) {
        let (sender, receiver) = oneshot::channel();
        if self
            .commands
            .send(Command::Leave(key, sender))
            .await
            .is_ok()
        {
            // A pump that has ended tells nothing either.
            let _ = receiver.await;
        }
    }

    /// Says that a change of a full member has arrived. Returns which of its elements the
    /// service has to see; `None` where the room cannot say.
    pub(crate) async fn change_came(&self, key: MemberKey, change: NewChange) -> Option<Vec<bool>> {
        let (sender, receiver) = oneshot::channel();
        let command = Command::ChangeCame(key, change, sender);
        // A pump that has ended knows no board.
        self.commands.send(command).await.ok()?;
        receiver.await.ok()?
    }

    /// Says that a change of a full member has been answered; see
    /// [`LiveRoom::change_ended`].
    pub(crate) async fn change_ended(&self, key: MemberKey, answer: Option<ChangeAnswer>) {
        // A pump that has ended has nobody to show the board to.
        let _ = self.commands.send(Command::ChangeEnded(key, answer)).await;
    }

    /// Says that a full member has sent a pointer.
    pub(crate) async fn pointed(&self, key: MemberKey) {
        // The same.
        let _ = self.commands.send(Command::Pointed(key)).await;
    }

    /// Whether the room is over.
    pub(crate) fn is_over(&self) -> bool {
        self.commands.is_closed()
    }
}

/// Starts a room's pump. It ends when nobody holds its handle any more, or the room is over.
pub(super) fn start(
    room: RoomCode,
    streams: Streams,
    ended: impl FnOnce() + Send + 'static,
) -> PumpHandle {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let pump = Pump {
        live: LiveRoom::new(room.clone()),
        room,
        streams,
        watching: None,
        watch_at: Some((Instant::now(), None)),
        failures: 0,
        hurried: None,
        outboxes: HashMap::new(),
        joining: HashMap::new(),
        waiting: Vec::new(),
    };
    tokio::spawn(async move {
        pump.run(commands).await;
        ended();
    });
    PumpHandle { commands: sender }
}

struct Pump {
    live: LiveRoom,
    room: RoomCode,
    streams: Streams,
    watching: Option<Watching>,
    /// When to watch again, and from where.
    watch_at: Option<(Instant, Option<proto::Position>)>,
    failures: u32,
    /// When it was last watched again without a pause.
    hurried: Option<Instant>,
    outboxes: HashMap<MemberKey, Outbox>,
    joining: HashMap<MemberKey, (Reply, oneshot::Sender<Result<(), Refusal>>)>,
    waiting: Vec<oneshot::Sender<Result<(), Error>>>,
}

impl Pump {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        debug!(room.code = %self.room, "pump: started");
        loop {
            let deadline = self.live.next_deadline();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                frame = next_frame(&mut self.watching) => self.on_frame(frame),
                () = until(self.watch_at.map(|(at, _)| at)) => self.watch(),
                () = until(deadline) => self.live.on_time(now()),
            }
            if !self.carry_out() {
                break;
            }
        }
        debug!(room.code = %self.room, "pump: ended");
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Ready(answer) => {
                if self.live.is_known() {
                    // Whoever asked may have gone.
                    let _ = answer.send(Ok(()));
                } else {
                    // Those who gave up meanwhile must not pile up.
                    self.waiting.retain(|waiting| !waiting.is_closed());
                    self.waiting.push(answer);
                    if let Some((at, _)) = &mut self.watch_at {
                        *at = (*at).min(Instant::now() + JOIN_BACKOFF);
                    }
                }
            }
            Command::Join(request, answer) => {
                let JoinRequest {
                    joiner,
                    outbox,
                    reply,
                } = *request;
                self.outboxes.insert(joiner.key, outbox);
                self.joining.insert(joiner.key, (reply, answer));
                self.live.join(now(), joiner);
            }
            Command::GiveUp(key) => self.live.give_up(key),
            Command::Leave(key, answer) => {
                self.live.leave(key);
                self.outboxes.remove(&key);
                // Whoever asked may have gone.
                let _ = answer.send(());
            }
            Command::ChangeCame(key, change, answer) => {
                // The socket may have given up.
                let _ = answer.send(self.live.change_came(now(), key, change));
            }
            Command::ChangeEnded(key, answer) => self.live.change_ended(now(), key, answer),
            Command::Pointed(key) => self.live.pointed(now(), key),
        }
    }

    fn on_frame(&mut self, frame: Option<Frame>) {
        match frame {
            Some(Frame::CaughtUp(caught_up)) => self.live.on_caught_up(now(), caught_up),
            Some(Frame::Event(event)) => self.live.on_event(now(), event),
            Some(Frame::Closed(closed)) => {
                self.watching = None;
                self.live.on_closed(now(), &closed);
            }
            None => {
                self.watching = None;
                self.live.on_lost();
            }
        }
    }

    fn watch(&mut self) {
        let Some((_, after)) = self.watch_at.take() else {
            return;
        };
        self.watching = self.streams.watch(&self.room, after);
        if self.watching.is_none() {
            self.live.on_lost();
        }
    }

    /// Does what the room asks for; `false` once it is over.
    fn carry_out(&mut self) -> bool {
        for output in self.live.take_output() {
            match output {
                Output::Emit { to, packet } => {
                    for outbox in to.iter().filter_map(|key| self.outboxes.get(key)) {
                        outbox.tell(&packet);
                    }
                }
                Output::Admit { key, ack } => {
                    if let Some((reply, answer)) = self.joining.remove(&key) {
                        reply.send(&ack);
                        // The session waits for this as long as it lives.
                        let _ = answer.send(Ok(()));
                    }
                }
                Output::Refuse { key, why } => {
                    if !self.live.is_member(key) {
                        self.outboxes.remove(&key);
                    }
                    if let Some((_, answer)) = self.joining.remove(&key) {
                        // The session waits for this as long as it lives.
                        let _ = answer.send(Err(why));
                    }
                }
                Output::Watch { after, why } => {
                    self.watching = None;
                    let pause = match why {
                        Rewatch::Gap => Duration::ZERO,
                        Rewatch::Unavailable => self.backoff(),
                    };
                    self.watch_at = Some((Instant::now() + pause, after));
                }
                Output::Live => {
                    self.failures = 0;
                    for answer in self.waiting.drain(..) {
                        // Whoever asked may have gone.
                        let _ = answer.send(Ok(()));
                    }
                }
                Output::End { existed } => {
                    for answer in self.waiting.drain(..) {
                        let told = if existed {
                            Ok(())
                        } else {
                            Err(Error::RoomNotFound)
                        };
                        // Whoever asked may have gone.
                        let _ = answer.send(told);
                    }
                    return false;
                }
            }
        }
        true
    }

    /// Nothing, then twice as long each time, and not the same for every room: a service that
    /// comes back is not to be met by all at once.
    fn backoff(&mut self) -> Duration {
        let before = self.failures;
        self.failures += 1;
        // A watch that breaks each time it has begun is not begun again without end.
        let lately = |at: Instant| at.elapsed() < BACKOFF.1;
        if before == 0 && !self.hurried.is_some_and(lately) {
            self.hurried = Some(Instant::now());
            return Duration::ZERO;
        }
        let doublings = before.saturating_sub(1).min(5);
        let has_joins = self.waiting.iter().any(|waiting| !waiting.is_closed());
        let most = if has_joins { JOIN_BACKOFF } else { BACKOFF.1 };
        let longest = most.min(BACKOFF.0 * 2_u32.pow(doublings));
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

async fn next_frame(watching: &mut Option<Watching>) -> Option<Frame> {
    match watching {
        Some(watching) => watching.next().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    #[expect(
        clippy::disallowed_methods,
        reason = "it only tells `expired` from `deleted`, and nobody's state depends on it"
    )]
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let wall_ms = since_epoch.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
    Now {
        instant: Instant::now(),
        wall_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Unread;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_is_dropped_at_its_deadline_counts_down_once() {
        // Nobody takes the commands, and there is place for one.
        let (commands, _pump) = mpsc::channel(1);
        let handle = PumpHandle { commands };
        handle.pointed(7).await;
        let unread = Unread::default();
        for _ in 0..2 {
            let change = NewChange {
                unread: unread.count(Instant::now()),
                stamps: Vec::new(),
                is_repeatable: false,
            };
            assert!(unread.any());
            let came = handle.change_came(7, change);
            assert!(timeout_at(Instant::now(), came).await.is_err());
            assert!(!unread.any());
            let ended = handle.change_ended(7, None);
            assert!(timeout_at(Instant::now(), ended).await.is_err());
            assert!(!unread.any());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whether_a_join_that_is_given_up_came_about_is_for_the_pump_to_say() {
        for told in [Ok(()), Err(Refusal::Late)] {
            let (commands, mut pump) = mpsc::channel(1);
            let handle = PumpHandle { commands };
            let (sender, answer) = oneshot::channel();
            let pump = async {
                assert!(matches!(pump.recv().await, Some(Command::GiveUp(7))));
                sender.send(told).unwrap();
            };
            let (answered, ()) = tokio::join!(handle.answer(7, answer, Instant::now()), pump);
            assert_eq!(answered, told);
        }
    }
}
