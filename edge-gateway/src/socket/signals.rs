//! `chat:typing`, `chat:stopTyping` and `whiteboard-pointer`: told, never stored.

use roomkeeper_proto::v1 as proto;

use super::{
    outbox::Reply,
    payload::{self, Claim, ClientEvent, Pointer, Typing},
    session::Session,
};
use crate::error::Error;

/// Tells the others that somebody writes, or does no longer.
pub(super) async fn typing(
    session: &Session,
    event: ClientEvent,
    text: &str,
    reply: &Reply,
) -> Result<(), Error> {
    let Typing(claim) = Typing::parse(text)?;
    send(session, event, &claim, "{}".to_owned(), reply).await
}

/// Tells the others where somebody points.
pub(super) async fn pointer(session: &Session, text: &str, reply: &Reply) -> Result<(), Error> {
    let Pointer { claim, rest } = Pointer::parse(text)?;
    send(session, ClientEvent::Pointer, &claim, rest, reply).await
}

async fn send(
    session: &Session,
    event: ClientEvent,
    claim: &Claim,
    json: String,
    reply: &Reply,
) -> Result<(), Error> {
    let member = session.member(claim)?;
    let kind = payload::signal::kind_of(event).ok_or(Error::Internal)?;
    let request = proto::SendSignalRequest {
        room_code: claim.room.as_str().to_owned(),
        user_id: member.user_id.clone(),
        username: member.username.clone(),
        session_id: member.session_id.as_ref().to_owned(),
        kind: kind.to_owned(),
        json,
    };
    session.gateway.persistence.send_signal(request).await?;
    reply.send(&payload::ack_success());
    Ok(())
}
