//! `/api/rooms` and what is below it.

use axum::{extract::State, response::Response};
use http::StatusCode;
use roomkeeper_proto::v1 as proto;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Http,
    answer::{Refusal, success, success_as},
    request::{Code, JsonBody, Parameters},
};
use crate::{
    contract::{Elements, Message, Room},
    error::Error,
    values::{self, MAX_SAFE_INTEGER, RoomCode},
};

type Answer = Result<Response, Refusal>;

/// The most rooms in one answer.
const MAX_ROOMS: i32 = 1_000;

/// The most messages in one answer.
const MAX_MESSAGES: i32 = 100;

/// How many users a room may be made for.
const MAX_PARTICIPANTS: u64 = 10_000;

#[derive(Serialize)]
struct OneRoom<'a> {
    success: bool,
    room: Room<'a>,
}

/// `POST /api/rooms/create`
pub(super) async fn create(State(http): State<Http>, body: JsonBody) -> Answer {
    let room = created(&http, &body).await?;
    Ok(success(&OneRoom {
        success: true,
        room: (&room).into(),
    }))
}

/// `POST /api/rooms`
pub(super) async fn create_as_resource(State(http): State<Http>, body: JsonBody) -> Answer {
    let room = created(&http, &body).await?;
    let answer = OneRoom {
        success: true,
        room: (&room).into(),
    };
    Ok(success_as(StatusCode::CREATED, &answer))
}

async fn created(http: &Http, body: &JsonBody) -> Result<proto::Room, Error> {
    let fields = body.fields()?;
    let name = values::room_name("name", &fields.string("name")?)?;
    let created_by = values::created_by("createdBy", &fields.string("createdBy")?)?;
    let max_participants = fields
        .optional_integer("maxParticipants")?
        .map(|number| {
            u32::try_from(number)
                .ok()
                .filter(|_| (1..=MAX_PARTICIPANTS).contains(&number))
                .ok_or_else(|| Error::invalid("maxParticipants", "must be from 1 to 10000"))
        })
        .transpose()?;
    let request = proto::CreateRoomRequest {
        name,
        created_by,
        max_participants,
        // Makes a try that is repeated meet the room that an earlier one made.
        request_id: Uuid::new_v4().to_string(),
    };
    http.persistence
        .create_room(request)
        .await?
        .room
        .ok_or(Error::Internal)
}

/// `POST /api/rooms/join`: only looks whether the room exists.
pub(super) async fn join(State(http): State<Http>, body: JsonBody) -> Answer {
    let fields = body.fields()?;
    let code = RoomCode::parse("code", &fields.string("code")?)?;
    values::username("username", fields.string("username")?)?;
    one_room(&http, &code).await
}

/// `GET /api/rooms/:code`
pub(super) async fn read(State(http): State<Http>, Code(code): Code) -> Answer {
    one_room(&http, &code).await
}

async fn one_room(http: &Http, code: &RoomCode) -> Answer {
    let found = http.persistence.get_room(code.as_str().to_owned()).await?;
    let room = found.room.as_ref().ok_or(Error::Internal)?;
    Ok(success(&OneRoom {
        success: true,
        room: room.into(),
    }))
}

/// `GET /api/rooms`
pub(super) async fn list(State(http): State<Http>, parameters: Parameters) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Rooms<'a> {
        success: bool,
        rooms: Vec<Room<'a>>,
        count: usize,
        #[serde(skip_serializing_if = "str::is_empty")]
        next_page_token: &'a str,
        /// Some rooms could not be read; absent where that is not so.
        #[serde(skip_serializing_if = "Option::is_none")]
        incomplete: Option<bool>,
    }
    let request = proto::ListRoomsRequest {
        page_size: parameters.limit(MAX_ROOMS)?.unwrap_or_default(),
        page_token: parameters.find("pageToken").unwrap_or_default().to_owned(),
    };
    let page = http.persistence.list_rooms(request).await?;
    Ok(success(&Rooms {
        success: true,
        rooms: page.rooms.iter().map(Room::from).collect(),
        count: page.rooms.len(),
        next_page_token: &page.next_page_token,
        incomplete: page.incomplete.then_some(true),
    }))
}

/// `DELETE /api/rooms/:code`
pub(super) async fn delete(State(http): State<Http>, Code(code): Code) -> Answer {
    #[derive(Serialize)]
    struct Deleted {
        success: bool,
        message: &'static str,
    }
    http.persistence
        .delete_room(code.as_str().to_owned())
        .await?;
    Ok(success(&Deleted {
        success: true,
        message: "the room was deleted",
    }))
}

/// `GET /api/rooms/:code/messages`
pub(super) async fn messages(
    State(http): State<Http>,
    Code(code): Code,
    parameters: Parameters,
) -> Answer {
    #[derive(Serialize)]
    struct Messages<'a> {
        success: bool,
        messages: Vec<Message<'a>>,
        count: usize,
    }
    let before = parameters.find("before").map(revision).transpose()?;
    let request = proto::ListMessagesRequest {
        room_code: code.as_str().to_owned(),
        page_size: parameters.limit(MAX_MESSAGES)?.unwrap_or_default(),
        page_token: before
            .map(|revision| revision.to_string())
            .unwrap_or_default(),
    };
    let page = http.persistence.list_messages(request).await?;
    Ok(success(&Messages {
        success: true,
        messages: page.messages.iter().map(Message::from).collect(),
        count: page.messages.len(),
    }))
}

fn revision(text: &str) -> Result<u64, Error> {
    text.parse()
        .ok()
        .filter(|revision| {
            text.bytes().all(|byte| byte.is_ascii_digit()) && *revision <= MAX_SAFE_INTEGER
        })
        .ok_or_else(|| Error::invalid("before", "must be a revision"))
}

/// `GET /api/rooms/:code/whiteboard`
pub(super) async fn whiteboard(State(http): State<Http>, Code(code): Code) -> Answer {
    #[derive(Serialize)]
    struct Answered<E> {
        success: bool,
        whiteboard: Board<E>,
    }
    #[derive(Serialize)]
    struct Board<E> {
        elements: E,
    }
    let board = http
        .persistence
        .get_whiteboard(code.as_str().to_owned())
        .await?;
    let living = board
        .elements
        .iter()
        .filter(|element| !element.is_deleted)
        .map(|element| element.json.as_str());
    let whiteboard = Board {
        elements: Elements(living),
    };
    Ok(success(&Answered {
        success: true,
        whiteboard,
    }))
}

/// `GET /api/rooms/:code/stats`
pub(super) async fn stats(State(http): State<Http>, Code(code): Code) -> Answer {
    #[derive(Serialize)]
    struct Answered<'a> {
        success: bool,
        stats: Stats<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats<'a> {
        room: Room<'a>,
        message_count: u32,
        participant_count: u32,
        ttl: i64,
    }
    let stats = http
        .persistence
        .get_room_stats(code.as_str().to_owned())
        .await?;
    let room = stats.room.as_ref().ok_or(Error::Internal)?;
    let stats = Stats {
        room: room.into(),
        message_count: stats.message_count,
        participant_count: stats.participant_count,
        ttl: stats.ttl.map_or(0, |ttl| ttl.seconds),
    };
    Ok(success(&Answered {
        success: true,
        stats,
    }))
}
