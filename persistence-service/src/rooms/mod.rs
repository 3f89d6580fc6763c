//! The rules of rooms, above any store and below any transport.

mod chat;
mod error;
mod left_out;
mod lifecycle;
mod membership;
mod whiteboard;

use std::sync::Arc;

pub use chat::{MessagePage, MessagePageRequest};
pub use error::RoomError;
pub use lifecycle::{RoomPage, RoomPageRequest};
pub use whiteboard::SavedChange;

use self::left_out::LeftOut;
use crate::repository::RoomRepository;

/// How many messages a room keeps and shows.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// How many are kept, which is also how many a resume or a page gives.
    pub kept: usize,
    /// How many somebody who arrives is shown.
    pub on_join: usize,
}

impl HistoryLimits {
    /// How many messages a member who joins is shown: no more than are kept.
    pub fn shown_on_join(&self) -> usize {
        self.on_join.min(self.kept)
    }
}

/// Serves calls on rooms.
#[derive(Clone, Debug)]
pub struct Rooms {
    repository: Arc<dyn RoomRepository>,
    history: HistoryLimits,
    left_out: Arc<LeftOut>,
}

impl Rooms {
    /// Rooms that are kept in this store.
    pub fn new(repository: Arc<dyn RoomRepository>, history: HistoryLimits) -> Self {
        Self {
            repository,
            history,
            left_out: Arc::default(),
        }
    }
}
