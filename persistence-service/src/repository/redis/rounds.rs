//! What is done in many rooms at once: each room for itself, within a bounded time.

use std::{collections::BTreeMap, time::Duration};

use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::{READS_AT_ONCE, RedisRooms, Servers, keys};
use crate::{domain::RoomCode, repository::RepositoryError};

/// How long one round over many rooms takes at most. Callers wait two seconds for an answer,
/// and are to learn of those rooms that were reached.
pub(super) const ROUND: Duration = Duration::from_millis(1_500);

impl RedisRooms {
    /// Does something in each of these rooms and returns what came of it, in any order. A room
    /// that was not reached in time is not among them.
    ///
    /// Each server has its own share of what is done at once, so one that is silent holds up
    /// its own rooms alone.
    pub(super) async fn in_each<T, R, F>(
        &self,
        rooms: Vec<(RoomCode, T)>,
        until: Instant,
        work: impl Fn(RoomCode, T) -> F,
    ) -> Vec<(RoomCode, Result<R, RepositoryError>)>
    where
        F: Future<Output = Result<R, RepositoryError>>,
    {
        let work = &work;
        let servers = self.by_server(rooms).into_iter().map(|group| {
            let at_work = stream::iter(group)
                .map(move |(code, what)| async move { (code, work(code, what).await) })
                .buffer_unordered(READS_AT_ONCE);
            Box::pin(at_work)
        });
        stream::select_all(servers)
            .take_until(sleep_until(until))
            .collect()
            .await
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// Whether this key of an index is on another server than the room.
    pub(super) fn is_apart(&self, key: &str, code: RoomCode) -> bool {
        match &self.servers {
            Servers::One(..) => false,
            Servers::Cluster(cluster) => cluster.is_apart(key, &keys::room(code)),
        }
    }

    /// Rooms, grouped by the servers that keep them.
    pub(super) fn by_server<T>(&self, rooms: Vec<(RoomCode, T)>) -> Vec<Vec<(RoomCode, T)>> {
        let Servers::Cluster(cluster) = &self.servers else {
            return vec![rooms];
        };
        let codes: Vec<RoomCode> = rooms.iter().map(|(code, _)| *code).collect();
        let mut groups: BTreeMap<Option<String>, Vec<_>> = BTreeMap::new();
        for (place, room) in cluster.places(&codes).into_iter().zip(rooms) {
            groups.entry(place).or_default().push(room);
        }
        groups.into_values().collect()
    }
}
