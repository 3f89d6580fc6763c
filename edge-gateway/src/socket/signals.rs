//! `chat:typing`, `chat:stopTyping` and `whiteboard-pointer`: told, never stored.

use roomkeeper_proto::v1 as proto;

use super::session::Session;
use crate::{
    contract::{self, ClientEvent, Signal, SyncMode},
    delivery::Reply,
    error::Error,
};

/// Tells the others.
pub(super) async fn signal(
    session: &Session,
    event: ClientEvent,
    text: &str,
    reply: &Reply,
) -> Result<(), Error> {
    let Signal { claim, rest } = Signal::parse(event, text)?;
    let member = session.member(&claim)?;
    if event == ClientEvent::Pointer && member.sync == SyncMode::Full {
        member.pump.pointed(session.key).await;
    }
    let kind = contract::signal::kind_of(event).ok_or(Error::Internal)?;
    let request = proto::SendSignalRequest {
        room_code: claim.room.as_str().to_owned(),
        user_id: member.user_id.clone(),
        username: member.username.clone(),
        session_id: member.session_id.as_ref().to_owned(),
        kind: kind.to_owned(),
        json: rest,
    };
    session.gateway.persistence.send_signal(request).await?;
    reply.send(&contract::ack_success());
    Ok(())
}
