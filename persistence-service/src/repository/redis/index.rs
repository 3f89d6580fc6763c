//! The index of active rooms: which there are, newest first. It is repaired, never trusted.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{READS_AT_ONCE, RedisRooms, connection::Effect, keys};
use crate::{
    domain::{Room, RoomCode},
    repository::{RepositoryError, RoomCursor, RoomRepository as _},
};

/// How many codes of the index are looked at in one step.
const INDEX_PAGE: usize = 500;

impl RedisRooms {
    /// A page of living rooms, newest first, and from where the next one goes on.
    pub(super) async fn active_rooms(
        &self,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<(Vec<Room>, Option<RoomCursor>), RepositoryError> {
        let mut rooms: Vec<Room> = Vec::new();
        let mut offset = 0;
        loop {
            let page = self
                .index_page(after.map(|cursor| cursor.create_time), offset)
                .await?;
            let last_page = page.len() < INDEX_PAGE;
            offset += page.len();
            let listed = page.into_iter().filter_map(|(code, score)| {
                let code = RoomCode::parse("code", &code).ok()?;
                // Within a millisecond Redis lists by code, descending.
                let seen = after.is_some_and(|cursor| {
                    score == cursor.create_time.to_string() && code >= cursor.code
                });
                (!seen).then_some((code, score))
            });
            let mut living = stream::iter(listed)
                .map(|(code, score)| async move {
                    Ok::<_, RepositoryError>((code, score, self.listed(code).await?))
                })
                .buffered(READS_AT_ONCE);
            while let Some((code, score, listed)) = living.try_next().await? {
                match listed {
                    Listed::Living(room) => rooms.push(room),
                    Listed::Gone => self.unlist(code, &score).await?,
                    Listed::Damaged => {}
                }
                if rooms.len() > limit {
                    // One more than asked for: there is a next page.
                    rooms.pop();
                    let next = rooms.last().map(|room| RoomCursor {
                        create_time: room.create_time,
                        code: room.code,
                    });
                    return Ok((rooms, next));
                }
            }
            if last_page {
                return Ok((rooms, None));
            }
        }
    }

    /// Removes rooms that have ended from the index, and says how many they were.
    pub(super) async fn sweep_index(&self) -> Result<usize, RepositoryError> {
        let (mut offset, mut removed) = (0, 0);
        loop {
            let page = self.index_page(None, offset).await?;
            let last_page = page.len() < INDEX_PAGE;
            let count = page.len();
            let dead = stream::iter(page)
                .map(|(code, score)| async move {
                    let Ok(code) = RoomCode::parse("code", &code) else {
                        return Ok(None);
                    };
                    match self.position(code).await {
                        Ok(None) => Ok(Some((code, score))),
                        // One room that is damaged or away does not keep the others.
                        Ok(Some(_)) | Err(_) => Ok::<_, RepositoryError>(None),
                    }
                })
                .buffered(READS_AT_ONCE)
                .try_filter_map(|dead| async move { Ok(dead) })
                .try_collect::<Vec<_>>()
                .await?;
            for (code, score) in &dead {
                self.unlist(*code, score).await?;
            }
            removed += dead.len();
            offset += count - dead.len();
            if last_page {
                return Ok(removed);
            }
        }
    }

    /// Lists a room as active unless it is.
    pub(super) async fn list_as_active(
        &self,
        code: RoomCode,
        create_time: u64,
    ) -> Result<(), RepositoryError> {
        let mut add = redis::cmd("ZADD");
        add.arg(keys::ACTIVE_ROOMS)
            .arg("NX")
            .arg(create_time)
            .arg(code.as_str());
        let add = &add;
        self.run(
            Effect::Repeatable,
            keys::ACTIVE_ROOMS,
            |mut connection| async move { add.query_async::<()>(&mut connection).await },
        )
        .await
    }

    /// Takes a room from the index, unless it was listed anew with another score.
    pub(super) async fn unlist(&self, code: RoomCode, score: &str) -> Result<(), RepositoryError> {
        let keys = [keys::ACTIVE_ROOMS];
        let arguments = [code.as_str(), score];
        self.call(Effect::Repeatable, &self.scripts.unlist, &keys, &arguments)
            .await
            .map(drop)
    }

    /// Codes of the index with their scores as text, newest first, from below
    /// a score or from the top.
    async fn index_page(
        &self,
        from: Option<u64>,
        offset: usize,
    ) -> Result<Vec<(String, String)>, RepositoryError> {
        let mut read = redis::cmd("ZREVRANGEBYSCORE");
        read.arg(keys::ACTIVE_ROOMS)
            .arg(from.map_or_else(|| "+inf".to_owned(), |score| score.to_string()))
            .arg("-inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(offset)
            .arg(INDEX_PAGE);
        let read = &read;
        // RESP3 answers pairs with a score that is a number.
        let pairs: Vec<(String, f64)> = self
            .run(
                Effect::Read,
                keys::ACTIVE_ROOMS,
                |mut connection| async move { read.query_async(&mut connection).await },
            )
            .await?;
        Ok(pairs
            .into_iter()
            .map(|(code, score)| (code, format!("{score:.0}")))
            .collect())
    }

    /// A room of the index. One that is damaged does not spoil the list.
    async fn listed(&self, code: RoomCode) -> Result<Listed, RepositoryError> {
        match self.room(code).await {
            Ok(Ok(stats)) => Ok(Listed::Living(stats.room)),
            Ok(Err(_)) => Ok(Listed::Gone),
            Err(RepositoryError::Damaged(problem)) => {
                self.damage.found(code, "a room cannot be listed", &problem);
                Ok(Listed::Damaged)
            }
            Err(error) => Err(error),
        }
    }
}

/// What became of a room of the index.
enum Listed {
    Living(Room),
    Gone,
    Damaged,
}
