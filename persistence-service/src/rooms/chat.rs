use super::{RoomError, Rooms};
use crate::{
    domain::{
        ChatText, Invalid, MAX_SAFE_INTEGER, Message, Participant, Request, RequestId, RoomCode,
        SessionId,
    },
    repository::{NewMessage, SavedMessage},
};

/// Which part of a room's messages to read.
#[derive(Clone, Copy, Debug)]
pub struct MessagePageRequest {
    limit: usize,
    before: Option<u64>,
}

impl MessagePageRequest {
    /// Takes a page size (0: 50; at most 100) and a token, which is a
    /// revision, as they came.
    pub fn parse(page_size: i32, page_token: &str) -> Result<Self, Invalid> {
        let limit = match usize::try_from(page_size) {
            Err(_) => return Err(Invalid::new("page_size", "must not be negative")),
            Ok(0) => 50,
            Ok(size) => size.min(100),
        };
        let before = match page_token {
            "" => None,
            token => Some(
                token
                    .parse()
                    .ok()
                    .filter(|&revision| revision <= MAX_SAFE_INTEGER)
                    .ok_or_else(|| Invalid::new("page_token", "must be a revision"))?,
            ),
        };
        Ok(Self { limit, before })
    }
}

/// A part of a room's messages.
#[derive(Debug)]
pub struct MessagePage {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// What to ask the page of older ones with; empty on the last one.
    pub next_page_token: String,
}

impl Rooms {
    /// Saves a message and tells it to whoever watches the room.
    pub async fn save_message(
        &self,
        code: RoomCode,
        author: Participant,
        text: ChatText,
        session: Option<SessionId>,
        request_id: RequestId,
    ) -> Result<SavedMessage, RoomError> {
        let request = Request::new(
            request_id,
            "SaveMessage",
            author.user_id.as_str(),
            [text.as_str()],
        );
        let message = NewMessage {
            code,
            author,
            text,
            session,
            request,
        };
        Ok(self.repository.save_message(&message).await??)
    }

    /// Lists the messages that the room keeps.
    pub async fn messages(
        &self,
        code: RoomCode,
        page: MessagePageRequest,
    ) -> Result<MessagePage, RoomError> {
        let (messages, more) = self
            .repository
            .messages(code, page.before, page.limit)
            .await??;
        let next_page_token = match messages.first() {
            Some(oldest) if more => oldest.revision.to_string(),
            _ => String::new(),
        };
        Ok(MessagePage {
            messages,
            next_page_token,
        })
    }
}
