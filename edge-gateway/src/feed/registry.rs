//! Which rooms have a pump here.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use roomkeeper_common::tasks::Tasks;
use tokio::sync::mpsc::WeakSender;

use super::{
    pump::{self, Command, PumpHandle},
    stream::Streams,
};
use crate::{persistence::Persistence, values::RoomCode};

/// The pumps, one for each room with a local member or a join in progress.
///
/// It holds them weakly: a pump ends when its last handle is dropped. A handle is taken
/// under the lock and only from a pump that somebody still holds, so the last leave and a
/// new join cannot meet in a pump that is ending.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    // A std mutex: nothing awaits while it is held.
    pumps: Arc<Mutex<HashMap<RoomCode, Pump>>>,
    streams: Streams,
    next_id: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Pump {
    id: u64,
    commands: WeakSender<Command>,
}

impl Registry {
    /// A registry whose pumps watch at `persistence`; its streams are some of `tasks`.
    pub(crate) fn new(persistence: Persistence, tasks: &Tasks) -> Self {
        Self {
            pumps: Arc::default(),
            streams: Streams::start(persistence, tasks),
            next_id: Arc::default(),
        }
    }

    /// The pump of a room, started if there is none.
    pub(crate) fn pump(&self, room: &RoomCode) -> PumpHandle {
        let mut pumps = self.pumps.lock().unwrap_or_else(PoisonError::into_inner);
        let running = pumps.get(room).and_then(|pump| pump.commands.upgrade());
        if let Some(commands) = running.filter(|commands| !commands.is_closed()) {
            return PumpHandle { commands };
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let registry = self.clone();
        let ended = {
            let room = room.clone();
            move || registry.forget(&room, id)
        };
        let handle = pump::start(room.clone(), self.streams.clone(), ended);
        pumps.insert(
            room.clone(),
            Pump {
                id,
                commands: handle.commands.downgrade(),
            },
        );
        handle
    }

    /// Forgets a pump that has ended, unless another has taken its place.
    fn forget(&self, room: &RoomCode, id: u64) {
        let mut pumps = self.pumps.lock().unwrap_or_else(PoisonError::into_inner);
        if pumps.get(room).is_some_and(|pump| pump.id == id) {
            pumps.remove(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::error::Error;

    fn registry() -> Registry {
        // Nothing listens there: a pump tries for ever.
        let urls = "http://127.0.0.1:1".parse().unwrap();
        let tasks = Tasks::until(CancellationToken::new());
        Registry::new(Persistence::new(&urls, &tasks).unwrap(), &tasks)
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_has_one_pump_while_somebody_holds_it() {
        let registry = registry();
        let room = RoomCode::parse("roomId", "123456").unwrap();
        let first = registry.pump(&room);
        let second = registry.pump(&room);
        assert!(first.commands.same_channel(&second.commands));

        let weak = first.commands.downgrade();
        drop((first, second));
        assert!(weak.upgrade().is_none());
        while !registry.pumps.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_join_is_answered_when_no_service_can_be_reached() {
        let room = RoomCode::parse("roomId", "123456").unwrap();
        assert_eq!(
            registry().pump(&room).ready().await,
            Err(Error::StoreUnavailable)
        );
    }
}
