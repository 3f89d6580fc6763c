//! `whiteboard-change`.

use std::sync::atomic::Ordering;

use roomkeeper_proto::v1 as proto;

use super::{
    outbox::Reply,
    payload::{self, WhiteboardChange},
    session::{Session, request_id},
};
use crate::{error::Error, feed::Sync};

/// Merges a change into the board; all others hear it from the feed.
pub(super) async fn change(session: &Session, text: &str, reply: &Reply) -> Result<(), Error> {
    let change = WhiteboardChange::parse(text)?;
    let member = session.member(&change.claim)?;
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
        leave_out_invalid: member.sync == Sync::Full,
    };
    let saved = session.gateway.persistence.save_whiteboard(request).await;

    match (&saved, member.sync) {
        (Ok(saved), Sync::Delta) if !saved.winning_elements.is_empty() => {
            // The sender heals at once, before the ack.
            let winners = saved
                .winning_elements
                .iter()
                .map(|element| element.json.as_str());
            session
                .outbox
                .tell(&payload::whiteboard_update(&room, winners, None));
        }
        (Ok(_) | Err(_), Sync::Delta) => {}
        (saved, Sync::Full) => {
            // What a duplicate accepted then may have been changed by others since.
            let lost =
                (saved.as_ref()).is_ok_and(|saved| saved.rejected_count > 0 || saved.duplicate);
            let event = saved.as_ref().ok().filter(|saved| !saved.duplicate);
            let event_at = event.and_then(|saved| saved.position).map(|at| at.revision);
            // This change is answered; what others draw from here on is after it.
            session.drawing.fetch_sub(1, Ordering::Relaxed);
            member.pump.change_ended(session.key, lost, event_at).await;
            session.drawing.fetch_add(1, Ordering::Relaxed);
        }
    }
    reply.send(&payload::ack_whiteboard_change(&saved?));
    Ok(())
}
