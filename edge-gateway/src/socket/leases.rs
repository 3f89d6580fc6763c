//! Keeps the sessions of this gateway alive at the service, all in a few calls.
//!
//! A session that is not renewed ends as if it had left: so a gateway that was killed takes
//! its people along, and one that was cut off for long brings them back when it can.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{self, Stream, StreamExt as _};
use rand::Rng as _;
use roomkeeper_proto::v1 as proto;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::{error::Error, persistence::Persistence, values::RoomCode};

/// How often every session is renewed: three times in a lease, so that two renewals may
/// fail.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// How long after a renewal that failed it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How many sessions one call renews.
const AT_ONCE: usize = 500;

/// How many such calls are under way at once. Each takes two seconds at most, so that all
/// sessions of a full gateway are renewed well within a lease even while a store is silent.
const CALLS_AT_ONCE: usize = 8;

/// How many sessions are brought back at once.
const BROUGHT_BACK_AT_ONCE: usize = 32;

/// A session in a room.
type Key = (RoomCode, Arc<str>);

/// Who is there through a session.
#[derive(Debug, Clone)]
struct Holder {
    /// Which of the leases of one session holds it: a repeated join takes a new one before
    /// it drops the old one.
    lease: u64,
    user_id: String,
    username: String,
}

/// The sessions that live here.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    // A std mutex: nothing awaits while it is held.
    held: Arc<Mutex<HashMap<Key, Holder>>>,
    next_lease: Arc<AtomicU64>,
}

/// One session in one room, renewed as long as this is held.
#[derive(Debug)]
pub(super) struct Lease {
    leases: Leases,
    key: Key,
    id: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.held();
        if held
            .get(&self.key)
            .is_some_and(|holder| holder.lease == self.id)
        {
            held.remove(&self.key);
        }
    }
}

impl Leases {
    /// Holds a session that has joined.
    pub(super) fn hold(
        &self,
        room: &RoomCode,
        session_id: &str,
        user_id: &str,
        username: &str,
    ) -> Lease {
        let key = (room.clone(), session_id.into());
        let id = self.next_lease.fetch_add(1, Ordering::Relaxed);
        let holder = Holder {
            lease: id,
            user_id: user_id.to_owned(),
            username: username.to_owned(),
        };
        self.held().insert(key.clone(), holder);
        Lease {
            leases: self.clone(),
            key,
            id,
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, Holder>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews what is held, again and again, for ever.
    pub(super) async fn keep(self, persistence: Persistence) {
        loop {
            // Not all gateways at the same moment.
            let jitter = rand::rng().random_range(0.8..=1.0);
            sleep(RENEW_EVERY.mul_f64(jitter)).await;
            while let Err(error) = self.renew(&persistence).await {
                debug!(%error, "sessions were not renewed");
                sleep(TRY_AGAIN).await;
            }
        }
    }

    /// Renews all of them; a part that fails keeps no other from being renewed.
    async fn renew(&self, persistence: &Persistence) -> Result<(), Error> {
        let mut keys: Vec<Key> = self.held().keys().cloned().collect();
        // The sessions of a room go in one call, which asks their room once.
        keys.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        let parts: Vec<Vec<Key>> = keys.chunks(AT_ONCE).map(<[Key]>::to_vec).collect();
        let parts = stream::iter(parts)
            .map(async |part| self.renew_part(persistence, part).await)
            .buffer_unordered(CALLS_AT_ONCE);
        worst_of(parts).await
    }

    async fn renew_part(&self, persistence: &Persistence, part: Vec<Key>) -> Result<(), Error> {
        let sessions = part
            .into_iter()
            .map(|(room, session)| proto::SessionRef {
                room_code: room.as_str().to_owned(),
                session_id: session.as_ref().to_owned(),
            })
            .collect();
        let unknown = persistence.renew_sessions(sessions).await?;
        // Many at once, as after a long outage: each is out of its room until then.
        let brought_back = stream::iter(unknown)
            .map(async |session| {
                let proto::SessionRef {
                    room_code,
                    session_id,
                } = session;
                match RoomCode::parse("room_code", &room_code) {
                    Ok(room) => {
                        self.bring_back(persistence, (room, session_id.into()))
                            .await
                    }
                    // The service names only what it was asked for.
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(BROUGHT_BACK_AT_ONCE);
        worst_of(brought_back).await
    }

    /// Joins a session again that ended although its socket lives.
    async fn bring_back(&self, persistence: &Persistence, key: Key) -> Result<(), Error> {
        // It may have left meanwhile.
        let Some(holder) = self.held().get(&key).cloned() else {
            return Ok(());
        };
        let (room, session_id) = (&key.0, &key.1);
        let request = proto::JoinRoomRequest {
            room_code: room.as_str().to_owned(),
            user_id: holder.user_id.clone(),
            username: holder.username,
            session_id: session_id.as_ref().to_owned(),
            after: None,
        };
        match persistence.join_room(request).await {
            Ok(_) => {
                info!(room.code = %room, session.id = %session_id, "a session was brought back")
            }
            // Its pump hears that the room is over.
            Err(Error::RoomNotFound) => {}
            Err(error @ (Error::StoreUnavailable | Error::OutcomeUnknown)) => return Err(error),
            Err(error) => {
                warn!(room.code = %room, session.id = %session_id, %error, "a session is lost");
            }
        }
        if !self.held().contains_key(&key) {
            let request = proto::LeaveRoomRequest {
                room_code: room.as_str().to_owned(),
                user_id: holder.user_id,
                session_id: session_id.as_ref().to_owned(),
            };
            // It left while it was brought back. Should this fail too, its lease ends it.
            if let Err(error) = persistence.leave_room(request).await {
                debug!(room.code = %room, session.id = %session_id, %error, "no leave");
            }
        }
        Ok(())
    }
}

/// Waits until all are done, and returns a failure if there was any: one that fails keeps no
/// other from being done.
async fn worst_of(all: impl Stream<Item = Result<(), Error>>) -> Result<(), Error> {
    all.fold(Ok(()), async |worst, one| worst.and(one)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_that_cannot_be_brought_back_keeps_no_other_from_it() {
        let done = AtomicU64::new(0);
        let all = stream::iter([true, false, true]).map(|works| {
            done.fetch_add(1, Ordering::Relaxed);
            works.then_some(()).ok_or(Error::StoreUnavailable)
        });
        assert_eq!(worst_of(all).await, Err(Error::StoreUnavailable));
        assert_eq!(done.into_inner(), 3);
    }

    #[test]
    fn a_session_is_held_as_long_as_its_lease() {
        let leases = Leases::default();
        let room = RoomCode::parse("roomId", "123456").unwrap();
        let lease = leases.hold(&room, "s", "ann", "Ann");
        assert_eq!(leases.held().len(), 1);
        drop(lease);
        assert!(leases.held().is_empty());
    }

    #[test]
    fn a_repeated_join_keeps_the_session_under_its_new_name() {
        let leases = Leases::default();
        let room = RoomCode::parse("roomId", "123456").unwrap();
        let first = leases.hold(&room, "s", "ann", "Ann");
        let second = leases.hold(&room, "s", "ann", "Anna");
        drop(first);
        let names: Vec<_> = leases.held().values().map(|h| h.username.clone()).collect();
        assert_eq!(names, ["Anna"]);
        drop(second);
        assert!(leases.held().is_empty());
    }

    #[test]
    fn the_same_session_in_two_rooms_is_held_twice() {
        let leases = Leases::default();
        let rooms = ["123456", "123457"].map(|code| RoomCode::parse("roomId", code).unwrap());
        let held = rooms
            .each_ref()
            .map(|room| leases.hold(room, "s", "ann", "Ann"));
        assert_eq!(leases.held().len(), 2);
        drop(held);
        assert!(leases.held().is_empty());
    }
}
