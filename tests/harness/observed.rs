use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use persistence_service::{
    domain::{CatchUp, NewRoom, Position, Request, Room, RoomCode, RoomStats, SessionId, UserId},
    repository::{
        Answer, Drawing, Join, NewMessage, NewSignal, RepositoryError, RoomCursor, RoomList,
        RoomRepository, SavedDrawing, SavedMessage, Since,
    },
};
use tokio::sync::watch;
use uuid::Uuid;

/// A store, looked at while it works: everything goes to the real one.
#[derive(Debug)]
pub struct Observed {
    store: Arc<dyn RoomRepository>,
    under_way: AtomicUsize,
    /// How many catch-ups were read at once at most.
    pub most: AtomicUsize,
    /// How many catch-ups were read.
    pub reads: AtomicUsize,
    held: watch::Sender<bool>,
    panics: AtomicBool,
}

impl Observed {
    /// Looks at this store. Catch-ups are answered as they come.
    pub fn new(store: Arc<dyn RoomRepository>) -> Self {
        Self {
            store,
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            held: watch::Sender::new(false),
            panics: AtomicBool::new(false),
        }
    }

    /// Lets catch-ups be read and not answered, until this says otherwise.
    pub fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    /// Lets the next catch-up panic.
    pub fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    /// Forgets what was seen so far.
    pub fn forget(&self) {
        self.most.store(0, Ordering::SeqCst);
        self.reads.store(0, Ordering::SeqCst);
    }
}

#[async_trait]
impl RoomRepository for Observed {
    async fn catch_up(
        &self,
        code: RoomCode,
        since: Since,
        message_limit: usize,
    ) -> Answer<CatchUp> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "on purpose");
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        let answer = self.store.catch_up(code, since, message_limit).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        // The sender lives as long as this.
        drop(self.held.subscribe().wait_for(|held| !held).await);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn claim_code(
        &self,
        request: &Request,
        candidate: RoomCode,
        taken: Option<RoomCode>,
    ) -> Result<RoomCode, RepositoryError> {
        self.store.claim_code(request, candidate, taken).await
    }

    fn can_keep(&self, code: RoomCode) -> bool {
        self.store.can_keep(code)
    }

    fn usable_id(&self) -> Option<Uuid> {
        self.store.usable_id()
    }

    async fn create_room(
        &self,
        code: RoomCode,
        room: &NewRoom,
        request: &Request,
    ) -> Answer<Option<Room>> {
        self.store.create_room(code, room, request).await
    }

    async fn room(&self, code: RoomCode) -> Answer<RoomStats> {
        self.store.room(code).await
    }

    async fn rooms(
        &self,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<RoomList, RepositoryError> {
        self.store.rooms(after, limit).await
    }

    async fn delete_room(&self, code: RoomCode) -> Answer<()> {
        self.store.delete_room(code).await
    }

    async fn join(&self, join: &Join) -> Answer<CatchUp> {
        self.store.join(join).await
    }

    async fn leave(&self, code: RoomCode, user: &UserId, session: &SessionId) -> Answer<()> {
        self.store.leave(code, user, session).await
    }

    async fn renew_sessions(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        self.store.renew_sessions(sessions).await
    }

    async fn expire_sessions(&self) -> Result<usize, RepositoryError> {
        self.store.expire_sessions().await
    }

    async fn save_message(&self, message: &NewMessage) -> Answer<SavedMessage> {
        self.store.save_message(message).await
    }

    async fn messages(
        &self,
        code: RoomCode,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<(Vec<persistence_service::domain::Message>, bool)> {
        self.store.messages(code, before, limit).await
    }

    async fn save_whiteboard(&self, drawing: &Drawing) -> Answer<SavedDrawing> {
        self.store.save_whiteboard(drawing).await
    }

    async fn signal(&self, signal: &NewSignal) -> Answer<()> {
        self.store.signal(signal).await
    }

    async fn positions(
        &self,
        codes: &[RoomCode],
    ) -> Vec<Result<Option<Position>, RepositoryError>> {
        self.store.positions(codes).await
    }

    async fn sweep(&self) -> Result<usize, RepositoryError> {
        self.store.sweep().await
    }

    async fn listen(&self, code: RoomCode) -> Result<(), RepositoryError> {
        self.store.listen(code).await
    }

    fn unlisten(&self, code: RoomCode) {
        self.store.unlisten(code);
    }

    async fn settle(&self, code: RoomCode) -> Result<(), RepositoryError> {
        self.store.settle(code).await
    }

    async fn settle_all(&self, codes: &[RoomCode]) -> HashSet<RoomCode> {
        self.store.settle_all(codes).await
    }

    fn availability(&self) -> watch::Receiver<bool> {
        self.store.availability()
    }
}
