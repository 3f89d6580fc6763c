use std::{sync::Arc, time::Duration};

use persistence_service::{
    domain::RoomCode,
    feed::{Hub, Mailboxes, Watch},
    repository::{
        RoomRepository,
        redis::{RedisAddress, RedisRooms, RoomSettings},
    },
};
use roomkeeper_common::tasks::Tasks;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A store at an address, with its hub.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub rooms: Arc<dyn RoomRepository>,
    /// Who watches it.
    pub hub: Hub,
    _stop: DropGuard,
}

impl Opened {
    /// Opens the store and waits until it is connected. Its rooms live for `ttl`.
    ///
    /// # Panics
    ///
    /// Where there is no Redis at this address.
    pub async fn at(url: &str, ttl: Duration) -> Self {
        Self::looked_at(url, ttl, |store| store).await
    }

    /// The same, with something between the store and its hub.
    ///
    /// # Panics
    ///
    /// Where there is no Redis at this address.
    pub async fn looked_at(
        url: &str,
        ttl: Duration,
        look: impl FnOnce(Arc<dyn RoomRepository>) -> Arc<dyn RoomRepository>,
    ) -> Self {
        let stop = CancellationToken::new();
        let mailboxes = Arc::new(Mailboxes::default());
        let settings = RoomSettings {
            ttl,
            message_limit: 100,
            session_lease: Duration::from_secs(30),
        };
        let rooms = look(Arc::new(RedisRooms::open(
            RedisAddress::parse(url).expect("an address"),
            settings,
            mailboxes.clone(),
            Tasks::until(stop.clone()),
        )));
        let hub = Hub::new(rooms.clone(), mailboxes, 100, 50, stop.child_token());
        tokio::spawn(hub.clone().compare());
        let mut available = rooms.availability();
        crate::soon("a connection", available.wait_for(|&up| up))
            .await
            .expect("a store");
        Self {
            rooms,
            hub,
            _stop: stop.drop_guard(),
        }
    }

    /// Watches a room from now on; caught up.
    pub fn watch(&self, code: RoomCode) -> Watch {
        Watch::new(&self.hub, code, None)
    }
}
