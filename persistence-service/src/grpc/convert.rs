//! Between the schema's messages and what the rules know.

use std::sync::Arc;

use prost_types::{Duration, Timestamp};
use roomkeeper_proto::v1 as proto;

use crate::{
    domain::{
        CatchUp, Element, Event, EventKind, Invalid, MAX_SAFE_INTEGER, Message, Participant,
        Position, Room, RoomCode, RoomStats, SessionId, UserId, Username,
    },
    feed,
    repository::SavedMessage,
    rooms::{MessagePage, RoomPage, SavedChange},
};

/// The room a request is about.
pub(super) fn code(text: &str) -> Result<RoomCode, Invalid> {
    RoomCode::parse("room_code", text)
}

/// The user a request is by, under which name.
pub(super) fn participant(user_id: &str, username: &str) -> Result<Participant, Invalid> {
    Ok(Participant {
        user_id: UserId::parse("user_id", user_id)?,
        username: Username::parse("username", username)?,
    })
}

/// The session a request comes through, if any.
pub(super) fn session(text: &str) -> Result<Option<SessionId>, Invalid> {
    if text.is_empty() {
        Ok(None)
    } else {
        SessionId::parse("session_id", text).map(Some)
    }
}

/// A session in a room, the request's `i`th.
pub(super) fn session_ref(
    i: usize,
    session: &proto::SessionRef,
) -> Result<(RoomCode, SessionId), Invalid> {
    let field = |name: &str| format!("sessions[{i}].{name}");
    Ok((
        RoomCode::parse(&field("room_code"), &session.room_code)?,
        SessionId::parse(&field("session_id"), &session.session_id)?,
    ))
}

pub(super) fn to_session_ref((code, session): &(RoomCode, SessionId)) -> proto::SessionRef {
    proto::SessionRef {
        room_code: code.to_string(),
        session_id: session.as_str().to_owned(),
    }
}

/// Where a caller is.
pub(super) fn after(position: Option<proto::Position>) -> Result<Option<Position>, Invalid> {
    let Some(proto::Position { epoch, revision }) = position else {
        return Ok(None);
    };
    for (field, number) in [("after.epoch", epoch), ("after.revision", revision)] {
        if number > MAX_SAFE_INTEGER {
            return Err(Invalid::new(field, "must be at most 2^53 - 1"));
        }
    }
    Ok(Some(Position { epoch, revision }))
}

/// A time of the store's clock, given in Unix milliseconds.
fn timestamp(milliseconds: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(milliseconds / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(milliseconds % 1_000).unwrap_or_default() * 1_000_000,
    }
}

fn duration(milliseconds: u64) -> Duration {
    let Timestamp { seconds, nanos } = timestamp(milliseconds);
    Duration { seconds, nanos }
}

pub(super) fn position(position: Position) -> proto::Position {
    proto::Position {
        epoch: position.epoch,
        revision: position.revision,
    }
}

pub(super) fn room(room: Room) -> proto::Room {
    proto::Room {
        code: room.code.to_string(),
        name: room.name,
        created_by: room.created_by,
        create_time: Some(timestamp(room.create_time)),
        participant_count: room.participant_count,
        max_participants: room.max_participants,
        expire_time: Some(timestamp(room.expire_time)),
    }
}

pub(super) fn room_stats(stats: RoomStats) -> proto::GetRoomStatsResponse {
    proto::GetRoomStatsResponse {
        message_count: stats.message_count,
        participant_count: stats.room.participant_count,
        ttl: Some(duration(stats.ttl)),
        room: Some(room(stats.room)),
    }
}

pub(super) fn room_page(page: RoomPage) -> proto::ListRoomsResponse {
    proto::ListRoomsResponse {
        rooms: page.rooms.into_iter().map(room).collect(),
        next_page_token: page.next_page_token,
        incomplete: page.incomplete,
    }
}

fn message(code: RoomCode, message: Message) -> proto::Message {
    proto::Message {
        id: message.id.to_string(),
        room_code: code.to_string(),
        user_id: message.user_id,
        username: message.username,
        text: message.text,
        create_time: Some(timestamp(message.timestamp)),
        revision: message.revision,
        request_id: message
            .request_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
    }
}

/// Messages that may be shared with others who read them.
fn messages(code: RoomCode, messages: Vec<Arc<Message>>) -> Vec<proto::Message> {
    messages
        .into_iter()
        .map(|shared| message(code, Arc::unwrap_or_clone(shared)))
        .collect()
}

pub(super) fn message_page(code: RoomCode, page: MessagePage) -> proto::ListMessagesResponse {
    let MessagePage {
        messages,
        next_page_token,
    } = page;
    proto::ListMessagesResponse {
        messages: messages.into_iter().map(|m| message(code, m)).collect(),
        next_page_token,
    }
}

pub(super) fn saved_message(code: RoomCode, saved: SavedMessage) -> proto::SaveMessageResponse {
    proto::SaveMessageResponse {
        message: Some(message(code, saved.message)),
        duplicate: saved.duplicate,
        epoch: saved.epoch,
    }
}

fn element(element: &Element) -> proto::Element {
    proto::Element {
        id: element.id.to_string(),
        version: element.version,
        version_nonce: element.version_nonce,
        is_deleted: element.is_deleted,
        revision: element.revision,
        json: element.json.to_string(),
    }
}

pub(super) fn elements(elements: &[Element]) -> Vec<proto::Element> {
    elements.iter().map(element).collect()
}

pub(super) fn saved_change(saved: &SavedChange) -> proto::SaveWhiteboardResponse {
    let SavedChange {
        drawing: saved,
        left_out,
    } = saved;
    proto::SaveWhiteboardResponse {
        accepted_count: saved.accepted,
        rejected_count: saved.rejected.saturating_add(*left_out),
        left_out_count: *left_out,
        winning_elements: elements(&saved.winners),
        position: saved.position.map(position),
        duplicate: saved.duplicate,
    }
}

fn to_participant(participant: &Participant) -> proto::Participant {
    proto::Participant {
        user_id: participant.user_id.as_str().to_owned(),
        username: participant.username.as_str().to_owned(),
    }
}

pub(super) fn joined(catch_up: CatchUp) -> proto::JoinRoomResponse {
    let code = catch_up.room.code;
    proto::JoinRoomResponse {
        participants: catch_up.participants.iter().map(to_participant).collect(),
        messages: messages(code, catch_up.messages),
        elements: elements(&catch_up.elements),
        position: Some(position(catch_up.room.position)),
        reset: catch_up.reset,
        history_truncated: catch_up.history_truncated,
        room: Some(room(catch_up.room)),
    }
}

pub(super) fn whiteboard(catch_up: &CatchUp) -> proto::GetWhiteboardResponse {
    proto::GetWhiteboardResponse {
        elements: elements(&catch_up.elements),
        position: Some(position(catch_up.room.position)),
        reset: catch_up.reset,
    }
}

fn caught_up(catch_up: &CatchUp, authors: &[feed::Author], history_limit: u32) -> proto::CaughtUp {
    let code = catch_up.room.code;
    proto::CaughtUp {
        position: Some(position(catch_up.room.position)),
        reset: catch_up.reset,
        history_truncated: catch_up.history_truncated,
        participants: catch_up.participants.iter().map(to_participant).collect(),
        messages: messages(code, catch_up.messages.clone()),
        elements: elements(&catch_up.elements),
        expire_time: Some(timestamp(catch_up.room.expire_time)),
        authors: authors
            .iter()
            .map(|author| proto::ChangeAuthor {
                revision: author.revision,
                session_id: SessionId::as_named(&author.session_id).to_owned(),
            })
            .collect(),
        history_limit: if catch_up.reset { history_limit } else { 0 },
    }
}

/// `None` for an event that no reader is handed: a watch ends with a deletion,
/// and catches up instead of handing on what was omitted.
fn event(code: RoomCode, event: &Event) -> Option<proto::RoomEvent> {
    use proto::room_event::Kind;

    let is_signal = matches!(event.kind, EventKind::Signal { .. });
    let kind = match &event.kind {
        EventKind::Message(saved) => Kind::MessageSaved(proto::MessageSaved {
            message: Some(message(code, Message::clone(saved))),
        }),
        EventKind::Whiteboard(change) => Kind::WhiteboardChanged(proto::WhiteboardChanged {
            user_id: change.user_id.as_str().to_owned(),
            elements: elements(&change.elements),
        }),
        EventKind::Joined(who) => Kind::ParticipantJoined(proto::ParticipantJoined {
            participant: Some(to_participant(who)),
        }),
        EventKind::Renamed(who) => Kind::ParticipantRenamed(proto::ParticipantRenamed {
            participant: Some(to_participant(who)),
        }),
        EventKind::Left(who) => Kind::ParticipantLeft(proto::ParticipantLeft {
            participant: Some(to_participant(who)),
        }),
        EventKind::Signal { from, kind, json } => Kind::Signal(proto::Signal {
            user_id: from.user_id.as_str().to_owned(),
            username: from.username.as_str().to_owned(),
            kind: kind.as_str().to_owned(),
            json: json.clone(),
        }),
        EventKind::Deleted | EventKind::Omitted => return None,
    };
    Some(proto::RoomEvent {
        room_code: code.to_string(),
        position: (!is_signal).then(|| position(event.position)),
        previous: event.previous,
        create_time: (!is_signal).then(|| timestamp(event.create_time())),
        expire_time: (!is_signal).then(|| timestamp(event.expire_time)),
        session_id: SessionId::as_named(&event.session_id).to_owned(),
        kind: Some(kind),
    })
}

pub(super) fn closed(reason: proto::CloseReason, message: &str) -> proto::Closed {
    proto::Closed {
        reason: reason.into(),
        message: message.to_owned(),
    }
}

fn close_reason(reason: feed::CloseReason) -> (proto::CloseReason, &'static str) {
    match reason {
        feed::CloseReason::Deleted => (proto::CloseReason::Deleted, ""),
        feed::CloseReason::Expired => (proto::CloseReason::Expired, ""),
        feed::CloseReason::Draining => (proto::CloseReason::Draining, ""),
        feed::CloseReason::NotFound => (proto::CloseReason::NotFound, ""),
        feed::CloseReason::Unavailable => (proto::CloseReason::Unavailable, ""),
        feed::CloseReason::Damaged => (proto::CloseReason::Unavailable, "unexpected error"),
    }
}

/// A frame of the feed in the terms of both streams.
#[derive(Debug)]
pub(super) enum FrameKind {
    CaughtUp(proto::CaughtUp),
    Event(proto::RoomEvent),
    Closed(proto::Closed),
}

/// `None` for a frame that no reader is handed. A member who joins is shown the newest
/// `history_limit` messages.
pub(super) fn frame(code: RoomCode, frame: &feed::Frame, history_limit: u32) -> Option<FrameKind> {
    Some(match frame {
        feed::Frame::CaughtUp(catch_up, authors) => {
            FrameKind::CaughtUp(caught_up(catch_up, authors, history_limit))
        }
        feed::Frame::Event(happened) => FrameKind::Event(event(code, happened)?),
        feed::Frame::Closed(reason) => {
            let (reason, message) = close_reason(*reason);
            FrameKind::Closed(closed(reason, message))
        }
    })
}

impl From<FrameKind> for proto::WatchRoomResponse {
    fn from(kind: FrameKind) -> Self {
        use proto::watch_room_response::Frame;
        let frame = match kind {
            FrameKind::CaughtUp(caught_up) => Frame::CaughtUp(caught_up),
            FrameKind::Event(event) => Frame::Event(event),
            FrameKind::Closed(closed) => Frame::Closed(closed),
        };
        Self { frame: Some(frame) }
    }
}

impl FrameKind {
    /// This frame as one of a stream of many watches.
    pub(super) fn of_watch(self, watch_id: u64) -> proto::WatchRoomsResponse {
        use proto::watch_rooms_response::Frame;
        let frame = match self {
            Self::CaughtUp(caught_up) => Frame::CaughtUp(caught_up),
            Self::Event(event) => Frame::Event(event),
            Self::Closed(closed) => Frame::Closed(closed),
        };
        proto::WatchRoomsResponse {
            watch_id,
            frame: Some(frame),
        }
    }
}
