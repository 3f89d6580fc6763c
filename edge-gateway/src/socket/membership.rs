//! `join` and `leave`.

use std::sync::Arc;

use roomkeeper_proto::v1 as proto;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::session::{MAX_ROOMS, Membership, Session};
use crate::{
    contract::{self, Join, Leave, SyncMode},
    delivery::Reply,
    error::Error,
    feed::{JoinRequest, Joiner, PumpHandle, Refusal},
    values::RoomCode,
};

/// How often a join is begun anew because the room moved on too fast.
const ATTEMPTS: usize = 5;

/// Makes the socket a member; the room's pump shows it the room and answers.
///
/// A join that cannot be answered in time is given up, and ended at the service.
pub(super) async fn join(
    session: &mut Session,
    text: &str,
    reply: &Reply,
    answer_by: Instant,
) -> Result<(), Error> {
    let join = Join::parse(text)?;
    session
        .rooms
        .retain(|room, member| *room == join.room || !member.pump.is_over());
    let bound = session
        .rooms
        .get(&join.room)
        .filter(|member| !member.pump.is_over());
    if bound.is_some_and(|member| member.user_id != join.user_id) {
        return Err(Error::IdentityMismatch);
    }
    let is_member = bound.is_some();
    if !is_member && session.rooms.len() >= MAX_ROOMS {
        return Err(Error::rate_limited());
    }

    let mut coming = Coming {
        session_id: match bound {
            Some(member) => member.session_id.clone(),
            None => session.next_session_id(),
        },
        may_be_in: false,
    };
    let room = join.room.clone();
    let user_id = join.user_id.clone();
    let joined = bring_in(session, join, reply, &mut coming, answer_by).await;
    if joined.is_err() && coming.may_be_in && !is_member {
        session
            .gateway
            .leave_surely(room, user_id, coming.session_id);
    }
    joined
}

/// How far a join has come; where it is given up, what it began is ended.
struct Coming {
    session_id: Arc<str>,
    /// The service may count the session as a member.
    may_be_in: bool,
}

async fn bring_in(
    session: &mut Session,
    join: Join,
    reply: &Reply,
    coming: &mut Coming,
    answer_by: Instant,
) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        // Held from before JoinRoom is sent: the room's events are kept from here on.
        let pump = session.gateway.registry.pump(&join.room);
        let joiner = match timeout_at(answer_by, ask(session, &join, &pump, coming)).await {
            Ok(Ok(Some(joiner))) => joiner,
            Ok(Ok(None)) => continue,
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) if coming.may_be_in => return Err(Error::OutcomeUnknown),
            Err(_elapsed) => return Err(Error::StoreUnavailable),
        };
        let request = JoinRequest {
            joiner,
            outbox: session.outbox.clone(),
            reply: reply.clone(),
        };
        match pump.join(request, answer_by).await {
            Ok(()) => {
                let session_id = coming.session_id.clone();
                let Join {
                    room,
                    user_id,
                    username,
                    sync,
                    ..
                } = join;
                let lease = session
                    .gateway
                    .leases
                    .hold(&room, &session_id, &user_id, &username);
                session.rooms.insert(
                    room,
                    Box::new(Membership {
                        session_id,
                        user_id,
                        username,
                        sync,
                        pump,
                        lease,
                    }),
                );
                return Ok(());
            }
            Err(why @ (Refusal::Stale | Refusal::Restart)) => {
                let session_id = &coming.session_id;
                debug!(room.code = %join.room, session.id = %session_id, ?why, "joining anew");
            }
            Err(Refusal::Late) => break,
        }
    }
    Err(Error::StoreUnavailable)
}

/// Has the service make the session a member. Without a joiner where another room has the
/// code meanwhile.
async fn ask(
    session: &Session,
    join: &Join,
    pump: &PumpHandle,
    coming: &mut Coming,
) -> Result<Option<Joiner>, Error> {
    pump.ready().await?;
    let board = match join.sync {
        SyncMode::Full if join.after.is_some() => Some(whole_board(session, &join.room).await?),
        SyncMode::Full | SyncMode::Delta => None,
    };
    let request = proto::JoinRoomRequest {
        room_code: join.room.as_str().to_owned(),
        user_id: join.user_id.clone(),
        username: join.username.clone(),
        session_id: coming.session_id.as_ref().to_owned(),
        after: join.after,
    };
    let was_in = std::mem::replace(&mut coming.may_be_in, true);
    let snapshot = match session.gateway.persistence.join_room(request).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            // A service that stored the join and then found the room damaged answers so too.
            let in_doubt = matches!(error, Error::OutcomeUnknown | Error::Internal);
            coming.may_be_in = was_in || in_doubt;
            return Err(error);
        }
    };
    let position = snapshot.position.ok_or(Error::Internal)?;
    let board = match board {
        Some((_, at)) if at.epoch != position.epoch => return Ok(None),
        Some((elements, at)) if !snapshot.reset => Some((elements, at.revision)),
        Some(_) | None => None,
    };
    Ok(Some(Joiner {
        key: session.key,
        session_id: coming.session_id.as_ref().to_owned(),
        sync: join.sync,
        resumes: join.after.is_some(),
        unread: session.unread.clone(),
        pace: session.pace.clone(),
        snapshot,
        position,
        board,
    }))
}

/// The living board and when it was read.
async fn whole_board(
    session: &Session,
    room: &RoomCode,
) -> Result<(Vec<proto::Element>, proto::Position), Error> {
    let board = session
        .gateway
        .persistence
        .get_whiteboard(room.as_str().to_owned())
        .await?;
    Ok((board.elements, board.position.ok_or(Error::Internal)?))
}

/// Ends the socket's membership, if there is one.
///
/// One that cannot be ended in time is ended later.
pub(super) async fn leave(
    session: &mut Session,
    text: &str,
    reply: &Reply,
    answer_by: Instant,
) -> Result<(), Error> {
    let Leave(claim) = Leave::parse(text)?;
    match session.member(&claim) {
        Ok(_) => {}
        Err(Error::NotJoined) => {
            reply.send(&contract::ack_success());
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    if let Some(membership) = session.rooms.remove(&claim.room) {
        let Membership {
            session_id,
            user_id,
            pump,
            lease,
            ..
        } = *membership;
        let over = pump.is_over();
        // First the room falls silent here, then it is told: nothing comes after the ack.
        pump.leave(session.key).await;
        // A renewal from here on would find it gone, and is not to bring it back.
        drop(lease);
        if !over {
            let request = proto::LeaveRoomRequest {
                room_code: claim.room.as_str().to_owned(),
                user_id: user_id.clone(),
                session_id: session_id.as_ref().to_owned(),
            };
            let leaving = session.gateway.persistence.leave_room(request);
            let left = timeout_at(answer_by, leaving)
                .await
                .unwrap_or(Err(Error::OutcomeUnknown));
            match left {
                Ok(()) | Err(Error::RoomNotFound) => {}
                Err(error) => {
                    session
                        .gateway
                        .leave_surely(claim.room, user_id, session_id);
                    return Err(error);
                }
            }
        }
    }
    reply.send(&contract::ack_success());
    Ok(())
}
