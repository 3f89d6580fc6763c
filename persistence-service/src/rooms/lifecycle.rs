use rand::Rng as _;

use super::{RoomError, Rooms};
use crate::{
    domain::{Invalid, NewRoom, Request, Room, RoomCode, RoomStats},
    repository::{RepositoryError, RoomCursor},
};

/// How many codes are tried. With half of all codes taken, the chance that all
/// of them are is one in four billion.
const CODE_ATTEMPTS: usize = 32;

/// How many codes are looked at to find one whose part of the store is there. With one part of
/// a hundred left, half of the searches find one.
const CANDIDATES: usize = 64;

/// Which part of the list of rooms to read.
#[derive(Clone, Copy, Debug)]
pub struct RoomPageRequest {
    limit: usize,
    after: Option<RoomCursor>,
}

impl RoomPageRequest {
    /// Takes a page size (0: 100; at most 1,000) and token as they came.
    pub fn parse(page_size: i32, page_token: &str) -> Result<Self, Invalid> {
        let limit = match usize::try_from(page_size) {
            Err(_) => return Err(Invalid::new("page_size", "must not be negative")),
            Ok(0) => 100,
            Ok(size) => size.min(1_000),
        };
        let after = if page_token.is_empty() {
            None
        } else {
            Some(parse_cursor(page_token)?)
        };
        Ok(Self { limit, after })
    }
}

/// A part of the list of rooms.
#[derive(Debug)]
pub struct RoomPage {
    /// Living rooms, newest first.
    pub rooms: Vec<Room>,
    /// What to ask the next page with; empty on the last one.
    pub next_page_token: String,
    /// A part of the store could not be read, and its rooms are not listed.
    pub incomplete: bool,
}

impl Rooms {
    /// Creates a room under a code that no living room has.
    ///
    /// A request keeps its place in the store, or two rooms could be made of it. So one
    /// whose place is away is refused, with an id that would do. No such id is named once an
    /// earlier try is known to have claimed a code: that try may have created the room.
    pub async fn create(&self, room: NewRoom) -> Result<Room, RoomError> {
        let seats = room.max_participants.number().to_string();
        let request = Request::new(
            room.request_id,
            "CreateRoom",
            room.created_by.as_str(),
            [room.name.as_str(), &seats],
        );
        let mut taken = None;
        for _ in 0..CODE_ATTEMPTS {
            let candidate = self.candidate();
            let code = if request.id.transient {
                // Nobody can repeat a request whose id only this call knows.
                candidate
            } else {
                let claimed = self.repository.claim_code(&request, candidate, taken).await;
                claimed.map_err(|error| self.not_created(error))?
            };
            let created = self.repository.create_room(code, &room, &request).await;
            let created = created.map_err(|error| {
                // Only this call has claimed this code, so no other try has a room.
                if code == candidate {
                    self.not_created(error)
                } else {
                    error.into()
                }
            })?;
            if let Some(room) = created? {
                return Ok(room);
            }
            taken = Some(code);
        }
        Err(RoomError::NoFreeCode)
    }

    /// How a creation fails that has stored no room. If the store is unavailable, the error
    /// names an id that would be served, where there is one.
    fn not_created(&self, error: RepositoryError) -> RoomError {
        if let RepositoryError::Unavailable(_) = error
            && let Some(usable_id) = self.repository.usable_id()
        {
            return RoomError::NotCreated { error, usable_id };
        }
        error.into()
    }

    /// A code whose part of the store is there, unless none is found.
    fn candidate(&self) -> RoomCode {
        let mut code = random_code();
        for _ in 0..CANDIDATES {
            if self.repository.can_keep(code) {
                break;
            }
            code = random_code();
        }
        code
    }

    /// Returns a room with how much it holds.
    pub async fn stats(&self, code: RoomCode) -> Result<RoomStats, RoomError> {
        Ok(self.repository.room(code).await??)
    }

    /// Lists living rooms, newest first.
    pub async fn list(&self, page: RoomPageRequest) -> Result<RoomPage, RoomError> {
        let list = self.repository.rooms(page.after, page.limit).await?;
        Ok(RoomPage {
            rooms: list.rooms,
            next_page_token: list.next.map(cursor_text).unwrap_or_default(),
            incomplete: list.incomplete,
        })
    }

    /// Deletes a room with all it holds.
    pub async fn delete(&self, code: RoomCode) -> Result<(), RoomError> {
        Ok(self.repository.delete_room(code).await??)
    }
}

/// A code that may be given to a room.
fn random_code() -> RoomCode {
    let mut random = rand::rng();
    loop {
        let number = random.random_range(RoomCode::FIRST..=RoomCode::LAST);
        if let Some(code) = RoomCode::from_number(number) {
            return code;
        }
    }
}

fn cursor_text(cursor: RoomCursor) -> String {
    format!("{}-{}", cursor.create_time, cursor.code)
}

fn parse_cursor(token: &str) -> Result<RoomCursor, Invalid> {
    let invalid = || Invalid::new("page_token", "must be a token of a page before");
    let (create_time, code) = token.split_once('-').ok_or_else(invalid)?;
    Ok(RoomCursor {
        create_time: create_time.parse().map_err(|_| invalid())?,
        code: RoomCode::parse("page_token", code).map_err(|_| invalid())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_survives_the_round_trip_and_garbage_is_refused() {
        let cursor = RoomCursor {
            create_time: 1_762_345_678_901,
            code: RoomCode::from_number(7_000).unwrap(),
        };
        assert_eq!(parse_cursor(&cursor_text(cursor)).unwrap(), cursor);
        for bad in ["x", "1-2", "-", "9999999999999999999999-001000"] {
            assert!(RoomPageRequest::parse(0, bad).is_err(), "{bad}");
        }
        assert!(RoomPageRequest::parse(-1, "").is_err());
    }

    #[test]
    fn a_candidate_is_never_a_reserved_code() {
        for _ in 0..10_000 {
            assert!(random_code().as_str() >= "001000");
        }
    }
}
