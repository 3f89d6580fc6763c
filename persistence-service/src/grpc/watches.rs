//! The two streams of a feed: one room, and many rooms on one stream.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use roomkeeper_proto::v1::{self as proto, watch_rooms_request::Command};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::{
    convert::{self, FrameKind},
    status::{from_error, of_request},
};
use crate::{
    domain::{Invalid, Position, RoomCode},
    feed::{Backlog, CloseReason, Frame, Hub, Watch},
    repository::RepositoryError,
    rooms::RoomError,
};

/// How many frames wait for the transport. A watch that finds no place waits,
/// its own mailbox fills, and it catches up instead: so what a slow reader
/// costs is bounded here and there.
const FRAMES: usize = 64;

/// How many bytes they have together. A larger frame, a whole board for one,
/// waits alone.
const FRAME_BYTES: usize = 4 << 20;

/// The unit in which they are counted, since a semaphore counts in `u32`.
const BYTES_UNIT: usize = 1 << 10;

/// How many catch-ups of one stream are read and wait to be handed over. Each may
/// hold a whole board, most hold little; with fewer, the rooms of a stream that broke
/// would wait for each other's round trips to the store.
const CATCH_UPS: usize = 16;

/// How long a reader may take nothing before its stream is ended. It comes back
/// with its positions.
const STALLED: Duration = Duration::from_secs(30);

/// How many watches one stream carries; several times what a gateway needs.
const WATCHES: usize = 100_000;

/// Watches one room. A room that is not there, or cannot be read, is an error
/// and no stream.
pub(super) async fn watch_room(
    hub: &Hub,
    code: RoomCode,
    after: Option<Position>,
) -> Result<impl Stream<Item = Result<proto::WatchRoomResponse, Status>> + use<>, RoomError> {
    let mut watch = Watch::new(hub, code, after);
    let first = watch.next().await;
    match first {
        Some(Frame::Closed(CloseReason::NotFound)) => return Err(RoomError::NotFound),
        Some(Frame::Closed(CloseReason::Unavailable)) => {
            return Err(RepositoryError::Unavailable("the feed did not begin".to_owned()).into());
        }
        Some(Frame::Closed(CloseReason::Damaged)) => {
            return Err(RepositoryError::Damaged("the feed did not begin".to_owned()).into());
        }
        Some(Frame::CaughtUp(..) | Frame::Event(_) | Frame::Closed(_)) | None => {}
    }
    Ok(stream::unfold(
        (watch, first),
        move |(mut watch, mut next)| async move {
            loop {
                let frame = match next.take() {
                    Some(frame) => frame,
                    None => watch.next().await?,
                };
                if let Some(frame) = convert::frame(code, &frame, watch.history_limit()) {
                    return Some((Ok(frame.into()), (watch, None)));
                }
            }
        },
    ))
}

/// Serves a stream of many watches.
pub(super) fn serve(
    hub: Hub,
    commands: Streaming<proto::WatchRoomsRequest>,
) -> impl Stream<Item = Result<proto::WatchRoomsResponse, Status>> {
    let (frames, outgoing) = mpsc::channel(FRAMES);
    let outlet = Outlet {
        frames,
        bytes: Arc::new(Semaphore::new(FRAME_BYTES / BYTES_UNIT)),
        catch_ups: Arc::new(Semaphore::new(CATCH_UPS)),
        taken: Arc::default(),
        stalled: CancellationToken::new(),
    };
    let (taken, stalled) = (outlet.taken.clone(), outlet.stalled.clone());
    let watches = Watches {
        hub,
        outlet,
        backlog: Backlog::default(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
    };
    tokio::spawn(watches.run(commands));
    let reason = stream::once(async move { stalled.is_cancelled() }).filter_map(async |stalled| {
        let status = Status::new(Code::ResourceExhausted, "the stream was not read");
        stalled.then_some(Err(status))
    });
    ReceiverStream::new(outgoing)
        // What waited for the transport has its place until it is taken.
        .map(move |(frame, _place)| {
            taken.fetch_add(1, Ordering::Relaxed);
            frame
        })
        .chain(reason)
}

/// A frame, and the bytes that it occupies.
type Waiting = (
    Result<proto::WatchRoomsResponse, Status>,
    Option<OwnedSemaphorePermit>,
);

/// The way of a stream's frames to the transport.
#[derive(Clone, Debug)]
struct Outlet {
    frames: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
    catch_ups: Arc<Semaphore>,
    /// How many frames the reader has taken.
    taken: Arc<AtomicU64>,
    /// Cancelled when the reader has taken nothing for too long.
    stalled: CancellationToken,
}

/// There is nobody to hand frames to.
struct ReaderGone;

impl Outlet {
    /// Hands a frame over, as soon as there is a place for it.
    async fn send(&self, frame: proto::WatchRoomsResponse) -> Result<(), ReaderGone> {
        let units = frame.encoded_len().min(FRAME_BYTES) / BYTES_UNIT;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let sending = async {
            // It is never closed.
            let place = self.bytes.clone().acquire_many_owned(units).await.ok();
            self.frames.send((Ok(frame), place)).await
        };
        tokio::pin!(sending);
        loop {
            let taken = self.taken.load(Ordering::Relaxed);
            match timeout(STALLED, &mut sending).await {
                Ok(sent) => return sent.map_err(|_| ReaderGone),
                // It reads, if slowly; others were before this frame.
                Err(_elapsed) if self.taken.load(Ordering::Relaxed) != taken => {}
                Err(_elapsed) => {
                    self.stalled.cancel();
                    return Err(ReaderGone);
                }
            }
        }
    }

    /// Ends the stream with an error. A caller who is gone does not hear it.
    async fn fail(&self, status: Status) {
        drop(timeout(STALLED, self.frames.send((Err(status), None))).await);
    }
}

struct Watches {
    hub: Hub,
    outlet: Outlet,
    backlog: Backlog,
    running: HashMap<u64, AbortHandle>,
    tasks: JoinSet<u64>,
}

impl Watches {
    /// Obeys until the caller is gone, breaks the rules or does not read, or the
    /// hub drains.
    async fn run(mut self, mut commands: Streaming<proto::WatchRoomsRequest>) {
        let draining = self.hub.draining.clone();
        let stalled = self.outlet.stalled.clone();
        loop {
            tokio::select! {
                command = commands.message() => match command {
                    Ok(Some(command)) => {
                        if let Err(broken) = self.obey(command).await {
                            self.outlet.fail(from_error(&broken.into())).await;
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(status) => {
                        self.outlet.fail(of_request(status)).await;
                        return;
                    }
                },
                Some(ended) = self.tasks.join_next() => {
                    // One that was aborted has been removed already.
                    if let Ok(watch_id) = ended {
                        self.running.remove(&watch_id);
                    }
                }
                () = stalled.cancelled() => {
                    tracing::info!(rooms = self.running.len(), "a stream that is not read is ended");
                    return;
                }
                () = self.outlet.frames.closed() => return,
                () = draining.cancelled() => break,
            }
        }
        // Each watch tells that the service is draining; then the stream ends.
        while self.tasks.join_next().await.is_some() {}
    }

    async fn obey(&mut self, command: proto::WatchRoomsRequest) -> Result<(), Invalid> {
        match command.command {
            Some(Command::Watch(watch)) => self.watch(watch).await,
            Some(Command::Unwatch(proto::Unwatch { watch_id })) => {
                if let Some(task) = self.running.remove(&watch_id) {
                    task.abort();
                }
                Ok(())
            }
            None => Err(Invalid::new("command", "must be watch or unwatch")),
        }
    }

    async fn watch(&mut self, watch: proto::Watch) -> Result<(), Invalid> {
        let id = watch.watch_id;
        if self.running.contains_key(&id) {
            return Err(Invalid::new("watch.watch_id", "must not be in use"));
        }
        let parsed = convert::code(&watch.room_code)
            .and_then(|code| Ok((code, convert::after(watch.after)?)));
        let (code, after) = match parsed {
            Ok(parsed) if self.running.len() < WATCHES => parsed,
            Ok(_) => {
                self.refuse(id, proto::CloseReason::Unavailable, "too many watches")
                    .await;
                return Ok(());
            }
            Err(invalid) => {
                self.refuse(id, proto::CloseReason::Invalid, &invalid.to_string())
                    .await;
                return Ok(());
            }
        };
        let watch = Watch::on_stream(&self.hub, code, after, self.backlog.clone());
        let task = self
            .tasks
            .spawn(hand_over(watch, code, id, self.outlet.clone()));
        self.running.insert(id, task);
        Ok(())
    }

    async fn refuse(&self, id: u64, reason: proto::CloseReason, why: &str) {
        let frame = FrameKind::Closed(convert::closed(reason, why)).of_watch(id);
        // A caller who is gone does not hear it.
        drop(self.outlet.send(frame).await);
    }
}

/// Hands a watch's frames to the stream until either ends.
async fn hand_over(mut watch: Watch, code: RoomCode, id: u64, outlet: Outlet) -> u64 {
    watch.catch_up_within(outlet.catch_ups.clone());
    while let Some(frame) = watch.next().await {
        let Some(frame) = convert::frame(code, &frame, watch.history_limit()) else {
            continue;
        };
        if outlet.send(frame.of_watch(id)).await.is_err() {
            break;
        }
    }
    id
}
