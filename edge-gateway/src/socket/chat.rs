//! `chat:message`.

use roomkeeper_proto::v1 as proto;

use super::session::{Session, request_id};
use crate::{
    contract::{self, ChatMessage},
    delivery::Reply,
    error::Error,
};

/// Saves a message; everybody, the sender too, hears it from the feed.
pub(super) async fn message(session: &Session, text: &str, reply: &Reply) -> Result<(), Error> {
    let message = ChatMessage::parse(text)?;
    let member = session.member(&message.claim)?;
    let (request_id, request_id_is_transient) = request_id(message.request_id);
    let request = proto::SaveMessageRequest {
        room_code: message.claim.room.as_str().to_owned(),
        user_id: member.user_id.clone(),
        username: member.username.clone(),
        text: message.text,
        session_id: member.session_id.as_ref().to_owned(),
        request_id,
        request_id_is_transient,
    };
    let saved = session.gateway.persistence.save_message(request).await?;
    let message = saved.message.ok_or(Error::Internal)?;
    reply.send(&contract::ack_chat_message(&message, saved.duplicate));
    Ok(())
}
