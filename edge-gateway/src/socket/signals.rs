//! `chat:typing`, `chat:stopTyping` and `whiteboard-pointer`: told, never stored.

use roomkeeper_proto::v1 as proto;

use super::{
    outbox::Reply,
    payload::{self, ClientEvent, Signal},
    session::Session,
};
use crate::{error::Error, feed::Sync};

/// Tells the others.
pub(super) async fn signal(
    session: &Session,
    event: ClientEvent,
    text: &str,
    reply: &Reply,
) -> Result<(), Error> {
    let Signal { claim, rest } = Signal::parse(event, text)?;
    let member = session.member(&claim)?;
    if event == ClientEvent::Pointer && member.sync == Sync::Full {
        member.pump.pointed(session.key).await;
    }
    let kind = payload::signal::kind_of(event).ok_or(Error::Internal)?;
    let request = proto::SendSignalRequest {
        room_code: claim.room.as_str().to_owned(),
        user_id: member.user_id.clone(),
        username: member.username.clone(),
        session_id: member.session_id.as_ref().to_owned(),
        kind: kind.to_owned(),
        json: rest,
    };
    session.gateway.persistence.send_signal(request).await?;
    reply.send(&payload::ack_success());
    Ok(())
}
