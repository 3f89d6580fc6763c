use super::{RoomError, Rooms};
use crate::{
    domain::{
        BOARD_LIMITS, BadFields, CatchUp, ElementChange, Invalid, Position, Request, RequestId,
        RoomCode, SessionId, UserId,
    },
    repository::{Drawing, SavedDrawing, Since},
};

/// A change of the board that has been checked and merged.
#[derive(Clone, Debug)]
pub struct SavedChange {
    /// What became of the elements that were merged.
    pub drawing: SavedDrawing,
    /// How many elements were left out because of a bad field.
    pub left_out: u32,
}

impl Rooms {
    /// Merges elements, given as their JSON, into the board.
    pub async fn save_whiteboard(
        &self,
        code: RoomCode,
        user: UserId,
        session: Option<SessionId>,
        elements: &[String],
        bad_fields: BadFields,
        request_id: RequestId,
    ) -> Result<SavedChange, RoomError> {
        let too_large =
            |problem: String| Err(RoomError::TooLarge(Invalid::new("elements", problem)));
        if elements.len() > BOARD_LIMITS.change_elements {
            return too_large(format!("must be at most {}", BOARD_LIMITS.change_elements));
        }
        if elements.iter().map(String::len).sum::<usize>() > BOARD_LIMITS.change_bytes {
            return too_large(format!(
                "must be at most {} bytes",
                BOARD_LIMITS.change_bytes
            ));
        }
        let request = Request::new(
            request_id,
            "SaveWhiteboard",
            user.as_str(),
            elements.iter().map(String::as_str),
        );
        let json = elements.iter().map(String::as_str);
        let checked = ElementChange::parse_all("elements", json, bad_fields)?;
        let left_out = u32::try_from(checked.left_out.len()).unwrap_or(u32::MAX);
        let drawing = Drawing {
            code,
            user,
            session,
            elements: checked.elements,
            request,
        };
        let drawing = self.repository.save_whiteboard(&drawing).await??;
        self.left_out.log(code, &checked.left_out);
        Ok(SavedChange { drawing, left_out })
    }

    /// Returns the living board, or what changed on it after a position.
    pub async fn whiteboard(
        &self,
        code: RoomCode,
        after: Option<Position>,
    ) -> Result<CatchUp, RoomError> {
        let since = after.map_or(Since::Arrival, Since::Position);
        // Messages are not asked for; one is the least that the store reads.
        Ok(self.repository.catch_up(code, since, 1).await??)
    }
}
