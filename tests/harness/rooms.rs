use std::{fmt, ops::Deref, path::Path, sync::Arc, time::Duration};

use persistence_service::{
    domain::{
        ChatText, ElementChange, NewRoom, Participant, Position, Request, RequestId, RoomCode,
        RoomName, Seats, SessionId, UserId, Username,
    },
    feed::{Hub, Mailboxes, Watch},
    repository::{
        Drawing, Join, NewMessage, RoomRepository, RoomSettings, Since,
        embedded::EmbeddedRooms,
        redis::{RedisAddress, RedisRooms},
    },
};
use roomkeeper_common::tasks::Tasks;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::RedisServer;

/// Where a store keeps its rooms. What every store promises is tested on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// On a Redis of its own.
    Redis,
    /// In a folder of its own.
    Embedded,
}

impl StoreKind {
    /// Rooms that live for a day.
    ///
    /// # Panics
    ///
    /// Where the store does not start.
    pub async fn start(self) -> AnyStore {
        self.with_ttl(Duration::from_secs(86_400)).await
    }

    /// Rooms that live for so long.
    ///
    /// # Panics
    ///
    /// Where the store does not start.
    pub async fn with_ttl(self, ttl: Duration) -> AnyStore {
        self.with(settings(ttl)).await
    }

    /// Rooms that are kept so.
    ///
    /// # Panics
    ///
    /// Where the store does not start.
    pub async fn with(self, settings: RoomSettings) -> AnyStore {
        match self {
            Self::Redis => Store::with(settings).await.into_any(),
            Self::Embedded => {
                let folder = tempfile::tempdir().expect("a temporary directory");
                let mut store = AnyStore::embedded(folder.path(), settings).await;
                store.below = Box::new(folder);
                store
            }
        }
    }
}

/// The settings of a store whose rooms live for so long.
pub fn settings(ttl: Duration) -> RoomSettings {
    RoomSettings {
        ttl,
        message_limit: 100,
        session_lease: Duration::from_secs(30),
    }
}

/// A store of any kind, with its hub.
#[derive(Debug)]
pub struct AnyStore {
    /// The store.
    pub rooms: Arc<dyn RoomRepository>,
    /// Who watches it.
    pub hub: Hub,
    /// Ends its watches.
    pub draining: CancellationToken,
    _stop: DropGuard,
    /// What it stands on, which ends with it.
    below: Box<dyn fmt::Debug + Send + Sync>,
}

impl AnyStore {
    fn new(
        rooms: Arc<dyn RoomRepository>,
        mailboxes: Arc<Mailboxes>,
        stop: CancellationToken,
    ) -> Self {
        let draining = stop.child_token();
        let hub = Hub::new(rooms.clone(), mailboxes, 100, 50, draining.clone());
        tokio::spawn(hub.clone().compare());
        Self {
            rooms,
            hub,
            draining,
            _stop: stop.drop_guard(),
            below: Box::new(()),
        }
    }

    /// Rooms in this folder.
    ///
    /// # Panics
    ///
    /// Where the store cannot be opened.
    pub async fn embedded(folder: &Path, settings: RoomSettings) -> Self {
        let mailboxes = Arc::new(Mailboxes::default());
        let rooms = EmbeddedRooms::open(folder.to_owned(), settings, mailboxes.clone())
            .await
            .expect("the folder is usable");
        Self::new(Arc::new(rooms), mailboxes, CancellationToken::new())
    }

    /// Creates a room with ten seats.
    ///
    /// # Panics
    ///
    /// Where the store fails.
    pub async fn room(&self) -> RoomCode {
        self.room_of(10).await
    }

    /// Creates a room with so many seats.
    ///
    /// # Panics
    ///
    /// Where the store fails.
    pub async fn room_of(&self, seats: u32) -> RoomCode {
        let code = free_code();
        let room = new_room(seats);
        let request = request("CreateRoom", "ann", "");
        let created = self
            .rooms
            .create_room(code, &room, &request)
            .await
            .expect("the store works");
        created.expect("no refusal").expect("the code is free").code
    }

    /// Watches a room from now on; caught up.
    pub fn watch(&self, code: RoomCode) -> Watch {
        Watch::new(&self.hub, code, None)
    }
}

/// A store on a Redis of its own, with its hub.
#[derive(Debug)]
pub struct Store {
    /// The server below it.
    pub redis: RedisServer,
    store: AnyStore,
}

impl Deref for Store {
    type Target = AnyStore;

    fn deref(&self) -> &AnyStore {
        &self.store
    }
}

impl Store {
    /// Rooms that live for a day.
    ///
    /// # Panics
    ///
    /// Where Redis does not start.
    pub async fn start() -> Self {
        Self::with_ttl(Duration::from_secs(86_400)).await
    }

    /// Rooms that live for so long.
    ///
    /// # Panics
    ///
    /// Where Redis does not start.
    pub async fn with_ttl(ttl: Duration) -> Self {
        Self::with(settings(ttl)).await
    }

    /// Rooms that are kept so.
    ///
    /// # Panics
    ///
    /// Where Redis does not start.
    pub async fn with(settings: RoomSettings) -> Self {
        let redis = RedisServer::start().await;
        let stop = CancellationToken::new();
        let mailboxes = Arc::new(Mailboxes::default());
        let address = RedisAddress::parse(&redis.url()).expect("an address");
        let rooms: Arc<dyn RoomRepository> = Arc::new(RedisRooms::open(
            address,
            settings,
            mailboxes.clone(),
            Tasks::until(stop.clone()),
        ));
        let mut available = rooms.availability();
        crate::soon("a connection", available.wait_for(|&up| up))
            .await
            .expect("a store");
        let store = AnyStore::new(rooms, mailboxes, stop);
        Self { redis, store }
    }

    fn into_any(self) -> AnyStore {
        let mut store = self.store;
        store.below = Box::new(self.redis);
        store
    }
}

/// Where a room is.
///
/// # Panics
///
/// Where the store fails.
pub async fn position(rooms: &dyn RoomRepository, code: RoomCode) -> Option<Position> {
    let mut positions = rooms.positions(&[code]).await;
    positions.remove(0).expect("the store works")
}

/// Codes of one test process never meet.
fn free_code() -> RoomCode {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(RoomCode::FIRST);
    RoomCode::from_number(NEXT.fetch_add(1, Ordering::Relaxed)).expect("a code")
}

/// A room that is to be created.
///
/// # Panics
///
/// With seats that no room has.
pub fn new_room(seats: u32) -> NewRoom {
    NewRoom {
        name: RoomName::parse("name", "A room").expect("a name"),
        created_by: Username::parse("created_by", "Ann").expect("a name"),
        max_participants: Seats::parse("max_participants", seats).expect("seats"),
        request_id: RequestId {
            id: Uuid::new_v4(),
            transient: false,
        },
    }
}

/// A request of this content under an id of its own.
pub fn request(call: &'static str, user: &str, content: &str) -> Request {
    let id = RequestId {
        id: Uuid::new_v4(),
        transient: false,
    };
    Request::new(id, call, user, [content])
}

/// A user whose name is their id.
///
/// # Panics
///
/// With an id that no user has.
pub fn participant(user: &str) -> Participant {
    Participant {
        user_id: UserId::parse("user_id", user).expect("an id"),
        username: Username::parse("username", user).expect("a name"),
    }
}

/// A user who comes through a session.
///
/// # Panics
///
/// With a session that cannot be.
pub fn join(code: RoomCode, user: &str, session: &str) -> Join {
    Join {
        code,
        participant: participant(user),
        session: SessionId::parse("session_id", session).expect("a session"),
        since: Since::Arrival,
        message_limit: 50,
    }
}

/// A message of a trusted backend.
///
/// # Panics
///
/// With a text that no message has.
pub fn message(code: RoomCode, user: &str, text: &str) -> NewMessage {
    NewMessage {
        code,
        author: participant(user),
        text: ChatText::parse("text", text).expect("a text"),
        session: None,
        request: request("SaveMessage", user, text),
    }
}

/// The JSON of a rectangle.
pub fn rectangle(id: &str, version: u64, nonce: u64, extra: &str) -> String {
    format!(
        r#"{{"id":"{id}","type":"rectangle","version":{version},"versionNonce":{nonce}{extra}}}"#
    )
}

/// An element that is to be stored.
///
/// # Panics
///
/// With JSON that is no element.
pub fn change(json: &str) -> ElementChange {
    ElementChange::parse("elements[0]", json).expect("an element")
}

/// A change of the board by a trusted backend.
///
/// # Panics
///
/// With JSON that is no element.
pub fn drawing(code: RoomCode, user: &str, elements: &[String]) -> Drawing {
    Drawing {
        code,
        user: UserId::parse("user_id", user).expect("an id"),
        session: None,
        elements: elements.iter().map(|json| change(json)).collect(),
        request: request("SaveWhiteboard", user, &elements.join(",")),
    }
}
