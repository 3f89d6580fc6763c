//! `whiteboard-change`.

use roomkeeper_proto::v1 as proto;
use tracing::error;

use super::session::{Membership, Session, request_id};
use crate::{
    contract::{self, SyncMode, WhiteboardChange},
    delivery::Reply,
    error::Error,
    feed::{ChangeAnswer, NewChange, UnreadEvent},
};

/// Merges a change into the board; all others hear it from the feed.
pub(super) async fn change(
    session: &Session,
    text: &str,
    reply: &Reply,
    unread: Option<UnreadEvent>,
) -> Result<(), Error> {
    let mut change = WhiteboardChange::parse(text)?;
    let member = session.member(&change.claim)?;
    if member.sync == SyncMode::Full
        && let Some(unread) = unread
        && !leave_out_stored(session, member, &mut change, unread).await
    {
        // As the service answers a change that changes nothing.
        let nothing = proto::SaveWhiteboardResponse::default();
        reply.send(&contract::ack_whiteboard_change(&nothing));
        return Ok(());
    }
    let room = change.claim.room.clone();
    let (request_id, request_id_is_transient) = request_id(change.request_id);
    let request = proto::SaveWhiteboardRequest {
        room_code: room.as_str().to_owned(),
        user_id: member.user_id.clone(),
        session_id: member.session_id.as_ref().to_owned(),
        elements: change.elements,
        request_id,
        request_id_is_transient,
        // A full client sends its whole scene and does not read refusals.
        leave_out_invalid: member.sync == SyncMode::Full,
    };
    let saved = session.gateway.persistence.save_whiteboard(request).await;

    match (&saved, member.sync) {
        (Ok(saved), SyncMode::Delta) if !saved.winning_elements.is_empty() => {
            // The sender heals at once, before the ack.
            let winners = saved
                .winning_elements
                .iter()
                .map(|element| element.json.as_str());
            session
                .outbox
                .tell(&contract::whiteboard_update(&room, winners, None));
        }
        (Ok(_) | Err(_), SyncMode::Delta) => {}
        // It may be stored yet, so it stays under way.
        (Err(Error::OutcomeUnknown), SyncMode::Full) => {}
        (saved, SyncMode::Full) => {
            let answer = saved.as_ref().ok().map(answer_to);
            member.pump.change_ended(session.key, answer).await;
        }
    }
    reply.send(&contract::ack_whiteboard_change(&saved?));
    Ok(())
}

/// Leaves out what the room's board already holds: existing clients send their whole scene
/// at each event. Whether something remains for the service.
///
/// A change with a request id of the client's stays whole, because the service compares the
/// content of a repeated request with the first one.
async fn leave_out_stored(
    session: &Session,
    member: &Membership,
    change: &mut WhiteboardChange,
    unread: UnreadEvent,
) -> bool {
    let is_repeatable = change.request_id.is_some();
    let new_change = NewChange {
        unread,
        stamps: change.stamps(),
        is_repeatable,
    };
    let Some(new) = member.pump.change_came(session.key, new_change).await else {
        return true;
    };
    if new.len() != change.elements.len() {
        error!("the room looked at another change");
        return true;
    }
    let mut new = new.into_iter();
    change.elements.retain(|_| new.next().unwrap_or(true));
    is_repeatable || !change.elements.is_empty()
}

/// What the service's answer means for the sender's scene.
fn answer_to(saved: &proto::SaveWhiteboardResponse) -> ChangeAnswer {
    let event = saved.position.filter(|_| !saved.duplicate);
    ChangeAnswer {
        // What a duplicate accepted then may have been changed by others since.
        lost: saved.rejected_count > saved.left_out_count || saved.duplicate,
        left_out: saved.left_out_count > 0,
        event_at: event.map(|at| at.revision),
    }
}
