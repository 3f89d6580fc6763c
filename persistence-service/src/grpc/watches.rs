//! The two streams of a feed: one room, and many rooms on one stream.

use std::collections::HashMap;

use futures_util::{Stream, stream};
use roomkeeper_proto::v1::{self as proto, watch_rooms_request::Command};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    convert::{self, FrameKind},
    status::from_error,
};
use crate::{
    domain::{Invalid, Position, RoomCode},
    feed::{CloseReason, Frame, Hub, Watch},
    repository::RepositoryError,
    rooms::RoomError,
};

/// How many frames wait for the transport. A watch that finds no place waits,
/// its own mailbox fills, and it catches up instead: so what a slow reader
/// costs is bounded here and there.
const FRAMES: usize = 64;

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
        Some(Frame::CaughtUp(_) | Frame::Event(_) | Frame::Closed(_)) | None => {}
    }
    Ok(stream::unfold(
        (watch, first),
        move |(mut watch, mut next)| async move {
            loop {
                let frame = match next.take() {
                    Some(frame) => frame,
                    None => watch.next().await?,
                };
                if let Some(frame) = convert::frame(code, &frame) {
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
    let watches = Watches {
        hub,
        frames,
        running: HashMap::new(),
        tasks: JoinSet::new(),
    };
    tokio::spawn(watches.run(commands));
    ReceiverStream::new(outgoing)
}

type Frames = mpsc::Sender<Result<proto::WatchRoomsResponse, Status>>;

struct Watches {
    hub: Hub,
    frames: Frames,
    running: HashMap<u64, AbortHandle>,
    tasks: JoinSet<u64>,
}

impl Watches {
    /// Obeys until the caller is gone or breaks the rules, or the hub drains.
    async fn run(mut self, mut commands: Streaming<proto::WatchRoomsRequest>) {
        let draining = self.hub.draining.clone();
        loop {
            tokio::select! {
                command = commands.message() => match command {
                    Ok(Some(command)) => {
                        if let Err(broken) = self.obey(command).await {
                            // A caller who is gone does not hear it.
                            drop(self.frames.send(Err(from_error(&broken.into()))).await);
                            return;
                        }
                    }
                    Ok(None) | Err(_) => return,
                },
                Some(ended) = self.tasks.join_next() => {
                    // One that was aborted has been removed already.
                    if let Ok(watch_id) = ended {
                        self.running.remove(&watch_id);
                    }
                }
                () = self.frames.closed() => return,
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
        let watch = Watch::new(&self.hub, code, after);
        let task = self
            .tasks
            .spawn(hand_over(watch, code, id, self.frames.clone()));
        self.running.insert(id, task);
        Ok(())
    }

    async fn refuse(&self, id: u64, reason: proto::CloseReason, why: &str) {
        let frame = FrameKind::Closed(convert::closed(reason, why)).of_watch(id);
        // A caller who is gone does not hear it.
        drop(self.frames.send(Ok(frame)).await);
    }
}

/// Hands a watch's frames to the stream until either ends.
async fn hand_over(mut watch: Watch, code: RoomCode, id: u64, frames: Frames) -> u64 {
    while let Some(frame) = watch.next().await {
        let Some(frame) = convert::frame(code, &frame) else {
            continue;
        };
        if frames.send(Ok(frame.of_watch(id))).await.is_err() {
            break;
        }
    }
    id
}
