//! One stream to each service, for all rooms that are watched there.
//!
//! A stream for each room would cost twenty times the memory. The price is one flow-control
//! window for all, so the reader never waits for a room: one that does not keep up loses
//! its watch and watches again from where it is.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1::{
    self as proto, watch_rooms_request::Command as Wire, watch_rooms_response::Frame,
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info};

use crate::{
    persistence::{Counted, Endpoint, Health, Persistence},
    values::RoomCode,
};

/// Frames that may wait for a room's pump: some seconds of a lively room. One that falls
/// further behind catches up instead.
const FRAMES: usize = 256;

/// Commands that may wait for a stream; more, and rooms try again a little later.
const COMMANDS: usize = 1_024;

/// Commands that may wait for the transport; the service reads them as they come.
const OUTBOUND: usize = 64;

/// How long opening a stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// The streams to all services; each is opened when first needed.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    persistence: Persistence,
    commands: Arc<HashMap<String, mpsc::Sender<Command>>>,
    next_id: Arc<AtomicU64>,
}

impl Streams {
    /// Starts one task for each service.
    pub(crate) fn start(persistence: Persistence, tasks: &Tasks) -> Self {
        let mut commands = HashMap::new();
        for endpoint in persistence.endpoints() {
            let (sender, receiver) = mpsc::channel(COMMANDS);
            commands.insert(endpoint.url().to_owned(), sender);
            tasks.spawn(
                "stream of events",
                run(persistence.clone(), endpoint, receiver),
            );
        }
        Self {
            persistence,
            commands: Arc::new(commands),
            next_id: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Begins to watch a room at the healthy service with the fewest; `None` if its queue is
    /// full.
    pub(crate) fn watch(
        &self,
        room: &RoomCode,
        after: Option<proto::Position>,
    ) -> Option<Watching> {
        let endpoint = self.persistence.endpoints().into_iter().next()?;
        let commands = self.commands.get(endpoint.url())?.clone();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sink, frames) = mpsc::channel(FRAMES);
        let watch = proto::Watch {
            watch_id: id,
            room_code: room.as_str().to_owned(),
            after,
        };
        commands.try_send(Command::Watch(watch, sink)).ok()?;
        Some(Watching {
            id,
            frames,
            commands,
            _watched: endpoint.begin_watch(),
        })
    }
}

/// The frames of one watch. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    id: u64,
    /// Boxed, because a queue makes place for 32 at once, and most rooms are silent.
    frames: mpsc::Receiver<Box<Frame>>,
    commands: mpsc::Sender<Command>,
    _watched: Counted,
}

impl Watching {
    /// The next frame; `None` once the stream broke or this watch fell behind.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await.map(|frame| *frame)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Where the queue is full, the stream finds at the next frame that nobody listens.
        let _ = self.commands.try_send(Command::Unwatch(self.id));
    }
}

#[derive(Debug)]
enum Command {
    Watch(proto::Watch, mpsc::Sender<Box<Frame>>),
    Unwatch(u64),
}

/// Keeps a stream to one service whenever somebody wants to watch there.
async fn run(persistence: Persistence, endpoint: Endpoint, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        if let Command::Watch(watch, sink) = command {
            let mut stream = Stream::default();
            stream.watch(watch, sink);
            tokio::select! {
                () = stream.serve(&endpoint, &mut commands) => {}
                () = persistence.unfit(&endpoint) => {
                    info!(service.url = %endpoint.url(), "feed: left for another service");
                }
            }
            // Whoever asked meanwhile asks again, perhaps another service: dropping the
            // command closes the frames.
            while commands.try_recv().is_ok() {}
        }
    }
}

/// One open stream.
#[derive(Debug, Default)]
struct Stream {
    sinks: HashMap<u64, mpsc::Sender<Box<Frame>>>,
    unsent: VecDeque<proto::WatchRoomsRequest>,
}

impl Stream {
    fn watch(&mut self, watch: proto::Watch, sink: mpsc::Sender<Box<Frame>>) {
        self.sinks.insert(watch.watch_id, sink);
        self.unsent.push_back(proto::WatchRoomsRequest {
            command: Some(Wire::Watch(watch)),
        });
    }

    fn unwatch(&mut self, watch_id: u64) {
        if self.sinks.remove(&watch_id).is_some() {
            let command = Some(Wire::Unwatch(proto::Unwatch { watch_id }));
            self.unsent.push_back(proto::WatchRoomsRequest { command });
        }
    }

    /// Carries commands there and frames back until the stream breaks; then all its
    /// watches end.
    async fn serve(mut self, endpoint: &Endpoint, commands: &mut mpsc::Receiver<Command>) {
        let (outbound, requests) = mpsc::channel(OUTBOUND);
        if let Some(first) = self.unsent.pop_front()
            && outbound.try_send(first).is_err()
        {
            return;
        }
        let mut client = endpoint.client();
        let opening = client.watch_rooms(ReceiverStream::new(requests));
        let mut frames = match timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                debug!(service.url = %endpoint.url(), %status, "no feed");
                return endpoint.turns_out(Health::Silent);
            }
            Err(_elapsed) => {
                debug!(service.url = %endpoint.url(), "no feed in time");
                return endpoint.turns_out(Health::Silent);
            }
        };
        info!(service.url = %endpoint.url(), "feed: open");

        loop {
            tokio::select! {
                frame = frames.message() => match frame {
                    Ok(Some(frame)) => {
                        if is_draining(&frame) {
                            // So that its rooms are watched elsewhere, if there is another.
                            endpoint.turns_out(Health::NotServing);
                        }
                        self.hand_over(frame);
                    }
                    Ok(None) => break,
                    Err(status) => {
                        debug!(service.url = %endpoint.url(), %status, "the feed broke");
                        break;
                    }
                },
                command = commands.recv(), if self.unsent.is_empty() => match command {
                    Some(Command::Watch(watch, sink)) => self.watch(watch, sink),
                    Some(Command::Unwatch(id)) => self.unwatch(id),
                    None => return,
                },
                permit = outbound.reserve(), if !self.unsent.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(request) = self.unsent.pop_front() {
                            permit.send(request);
                        }
                    }
                    Err(_closed) => break,
                },
            }
        }
        info!(service.url = %endpoint.url(), rooms = self.sinks.len(), "feed: closed");
        endpoint.turns_out(Health::NotServing);
    }

    fn hand_over(&mut self, response: proto::WatchRoomsResponse) {
        let proto::WatchRoomsResponse {
            watch_id,
            frame: Some(frame),
        } = response
        else {
            return;
        };
        let Some(sink) = self.sinks.get(&watch_id) else {
            return;
        };
        let last = matches!(frame, Frame::Closed(_));
        match sink.try_send(Box::new(frame)) {
            Ok(()) if last => {
                self.sinks.remove(&watch_id);
            }
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                debug!(watch_id, "a room does not keep up with its feed");
                self.unwatch(watch_id);
            }
            Err(TrySendError::Closed(_)) => self.unwatch(watch_id),
        }
    }
}

fn is_draining(response: &proto::WatchRoomsResponse) -> bool {
    match &response.frame {
        Some(Frame::Closed(closed)) => closed.reason() == proto::CloseReason::Draining,
        Some(Frame::CaughtUp(_) | Frame::Event(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(watch_id: u64) -> proto::WatchRoomsResponse {
        let frame = Some(Frame::Event(proto::RoomEvent::default()));
        proto::WatchRoomsResponse { watch_id, frame }
    }

    #[test]
    fn a_room_that_does_not_keep_up_loses_its_watch_and_no_other_does() {
        let mut stream = Stream::default();
        let (slow, mut slow_frames) = mpsc::channel(1);
        let (other, mut other_frames) = mpsc::channel(8);
        stream.watch(
            proto::Watch {
                watch_id: 1,
                ..Default::default()
            },
            slow,
        );
        stream.watch(
            proto::Watch {
                watch_id: 2,
                ..Default::default()
            },
            other,
        );
        stream.unsent.clear();

        stream.hand_over(event(1));
        stream.hand_over(event(1));
        stream.hand_over(event(2));
        assert!(slow_frames.try_recv().is_ok());
        assert!(matches!(
            slow_frames.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        ));
        assert!(other_frames.try_recv().is_ok());
        assert_eq!(
            stream.unsent.pop_front().unwrap().command,
            Some(Wire::Unwatch(proto::Unwatch { watch_id: 1 }))
        );
        stream.hand_over(event(1));
        stream.hand_over(event(99));
    }
}
