use std::pin::Pin;

use futures_util::Stream;
use roomkeeper_proto::v1::{self as proto, room_service_server};
use tonic::{Request, Response, Status, Streaming};

use super::{
    convert,
    deadline::unary,
    pipeline,
    status::from_error,
    watches::{self, watch_room},
};
use crate::{
    domain::{
        BadFields, ChatText, Invalid, NewRoom, RequestId, RoomName, Seats, SessionId, SignalKind,
        UserId, Username,
    },
    feed::Hub,
    repository::NewSignal,
    rooms::{MessagePageRequest, RoomError, RoomPageRequest, Rooms},
};

/// The largest content of a signal, in bytes.
const SIGNAL_BYTES: usize = 2_048;

/// How many sessions one call renews.
const RENEWED_AT_ONCE: usize = 1_000;

/// `roomkeeper.v1.RoomService` over the rules of rooms and their feed.
#[derive(Clone, Debug)]
pub(crate) struct RoomService {
    rooms: Rooms,
    hub: Hub,
}

impl RoomService {
    /// Serves these rooms.
    pub(crate) fn new(rooms: Rooms, hub: Hub) -> Self {
        Self { rooms, hub }
    }

    async fn create(
        &self,
        request: proto::CreateRoomRequest,
    ) -> Result<proto::CreateRoomResponse, RoomError> {
        let room = NewRoom {
            name: RoomName::parse("name", &request.name)?,
            created_by: Username::parse_trimmed("created_by", &request.created_by)?,
            max_participants: match request.max_participants {
                Some(seats) => Seats::parse("max_participants", seats)?,
                None => Seats::DEFAULT,
            },
            request_id: RequestId::parse("request_id", &request.request_id, false)?,
        };
        let room = self.rooms.create(room).await?;
        Ok(proto::CreateRoomResponse {
            room: Some(convert::room(room)),
        })
    }

    async fn room(
        &self,
        request: proto::GetRoomRequest,
    ) -> Result<proto::GetRoomResponse, RoomError> {
        let stats = self.rooms.stats(convert::code(&request.room_code)?).await?;
        Ok(proto::GetRoomResponse {
            room: Some(convert::room(stats.room)),
        })
    }

    async fn list(
        &self,
        request: proto::ListRoomsRequest,
    ) -> Result<proto::ListRoomsResponse, RoomError> {
        let page = RoomPageRequest::parse(request.page_size, &request.page_token)?;
        Ok(convert::room_page(self.rooms.list(page).await?))
    }

    async fn delete(
        &self,
        request: proto::DeleteRoomRequest,
    ) -> Result<proto::DeleteRoomResponse, RoomError> {
        self.rooms
            .delete(convert::code(&request.room_code)?)
            .await?;
        Ok(proto::DeleteRoomResponse {})
    }

    async fn stats(
        &self,
        request: proto::GetRoomStatsRequest,
    ) -> Result<proto::GetRoomStatsResponse, RoomError> {
        let stats = self.rooms.stats(convert::code(&request.room_code)?).await?;
        Ok(convert::room_stats(stats))
    }

    async fn join(
        &self,
        request: proto::JoinRoomRequest,
    ) -> Result<proto::JoinRoomResponse, RoomError> {
        let code = convert::code(&request.room_code)?;
        let who = convert::participant(&request.user_id, &request.username)?;
        let session = convert::session(&request.session_id)?
            .unwrap_or_else(|| SessionId::unnamed(&who.user_id));
        let after = convert::after(request.after)?;
        Ok(convert::joined(
            self.rooms.join(code, who, session, after).await?,
        ))
    }

    async fn leave(
        &self,
        request: proto::LeaveRoomRequest,
    ) -> Result<proto::LeaveRoomResponse, RoomError> {
        let code = convert::code(&request.room_code)?;
        let user = UserId::parse("user_id", &request.user_id)?;
        let session =
            convert::session(&request.session_id)?.unwrap_or_else(|| SessionId::unnamed(&user));
        self.rooms.leave(code, &user, &session).await?;
        Ok(proto::LeaveRoomResponse {})
    }

    async fn renew(
        &self,
        request: proto::RenewSessionsRequest,
    ) -> Result<proto::RenewSessionsResponse, RoomError> {
        if request.sessions.len() > RENEWED_AT_ONCE {
            let problem = format!("must be at most {RENEWED_AT_ONCE}");
            return Err(Invalid::new("sessions", problem).into());
        }
        let sessions = request
            .sessions
            .iter()
            .enumerate()
            .map(|(i, session)| convert::session_ref(i, session))
            .collect::<Result<Vec<_>, _>>()?;
        let unknown = self.rooms.renew(&sessions).await?;
        Ok(proto::RenewSessionsResponse {
            unknown_sessions: unknown.iter().map(convert::to_session_ref).collect(),
        })
    }

    pub(super) async fn say(
        &self,
        request: proto::SaveMessageRequest,
    ) -> Result<proto::SaveMessageResponse, RoomError> {
        let code = convert::code(&request.room_code)?;
        let author = convert::participant(&request.user_id, &request.username)?;
        let text = ChatText::parse("text", &request.text)?;
        let session = convert::session(&request.session_id)?;
        let id = RequestId::parse(
            "request_id",
            &request.request_id,
            request.request_id_is_transient,
        )?;
        let saved = self
            .rooms
            .save_message(code, author, text, session, id)
            .await?;
        Ok(convert::saved_message(code, saved))
    }

    async fn messages(
        &self,
        request: proto::ListMessagesRequest,
    ) -> Result<proto::ListMessagesResponse, RoomError> {
        let code = convert::code(&request.room_code)?;
        let page = MessagePageRequest::parse(request.page_size, &request.page_token)?;
        Ok(convert::message_page(
            code,
            self.rooms.messages(code, page).await?,
        ))
    }

    pub(super) async fn draw(
        &self,
        request: proto::SaveWhiteboardRequest,
    ) -> Result<proto::SaveWhiteboardResponse, RoomError> {
        let code = convert::code(&request.room_code)?;
        let user = UserId::parse("user_id", &request.user_id)?;
        let session = convert::session(&request.session_id)?;
        let id = RequestId::parse(
            "request_id",
            &request.request_id,
            request.request_id_is_transient,
        )?;
        let bad_fields = if request.leave_out_invalid {
            BadFields::LeaveOut
        } else {
            BadFields::RefuseChange
        };
        let elements: Vec<String> = request
            .elements
            .into_iter()
            .map(|element| element.json)
            .collect();
        let saved = self
            .rooms
            .save_whiteboard(code, user, session, &elements, bad_fields, id)
            .await?;
        Ok(convert::saved_change(&saved))
    }

    async fn whiteboard(
        &self,
        request: proto::GetWhiteboardRequest,
    ) -> Result<proto::GetWhiteboardResponse, RoomError> {
        let code = convert::code(&request.room_code)?;
        let after = convert::after(request.after)?;
        Ok(convert::whiteboard(
            &self.rooms.whiteboard(code, after).await?,
        ))
    }

    pub(super) async fn signal(
        &self,
        request: proto::SendSignalRequest,
    ) -> Result<proto::SendSignalResponse, RoomError> {
        let signal = NewSignal {
            code: convert::code(&request.room_code)?,
            from: convert::participant(&request.user_id, &request.username)?,
            session: convert::session(&request.session_id)?,
            kind: SignalKind::parse("kind", &request.kind)?,
            json: signal_json(request.json)?,
        };
        self.rooms.signal(signal).await?;
        Ok(proto::SendSignalResponse {})
    }
}

/// A signal's content: a small JSON object, or an empty one.
fn signal_json(json: String) -> Result<String, RoomError> {
    if json.is_empty() {
        return Ok("{}".to_owned());
    }
    if json.len() > SIGNAL_BYTES {
        return Err(RoomError::TooLarge(Invalid::new(
            "json",
            format!("must be at most {SIGNAL_BYTES} bytes"),
        )));
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&json) {
        Ok(_) => Ok(json),
        Err(_) => Err(Invalid::new("json", "must be a JSON object").into()),
    }
}

#[tonic::async_trait]
impl room_service_server::RoomService for RoomService {
    async fn create_room(
        &self,
        request: Request<proto::CreateRoomRequest>,
    ) -> Result<Response<proto::CreateRoomResponse>, Status> {
        unary(request, |request| self.create(request)).await
    }

    async fn get_room(
        &self,
        request: Request<proto::GetRoomRequest>,
    ) -> Result<Response<proto::GetRoomResponse>, Status> {
        unary(request, |request| self.room(request)).await
    }

    async fn list_rooms(
        &self,
        request: Request<proto::ListRoomsRequest>,
    ) -> Result<Response<proto::ListRoomsResponse>, Status> {
        unary(request, |request| self.list(request)).await
    }

    async fn delete_room(
        &self,
        request: Request<proto::DeleteRoomRequest>,
    ) -> Result<Response<proto::DeleteRoomResponse>, Status> {
        unary(request, |request| self.delete(request)).await
    }

    async fn get_room_stats(
        &self,
        request: Request<proto::GetRoomStatsRequest>,
    ) -> Result<Response<proto::GetRoomStatsResponse>, Status> {
        unary(request, |request| self.stats(request)).await
    }

    async fn join_room(
        &self,
        request: Request<proto::JoinRoomRequest>,
    ) -> Result<Response<proto::JoinRoomResponse>, Status> {
        unary(request, |request| self.join(request)).await
    }

    async fn leave_room(
        &self,
        request: Request<proto::LeaveRoomRequest>,
    ) -> Result<Response<proto::LeaveRoomResponse>, Status> {
        unary(request, |request| self.leave(request)).await
    }

    async fn renew_sessions(
        &self,
        request: Request<proto::RenewSessionsRequest>,
    ) -> Result<Response<proto::RenewSessionsResponse>, Status> {
        unary(request, |request| self.renew(request)).await
    }

    async fn save_message(
        &self,
        request: Request<proto::SaveMessageRequest>,
    ) -> Result<Response<proto::SaveMessageResponse>, Status> {
        unary(request, |request| self.say(request)).await
    }

    async fn list_messages(
        &self,
        request: Request<proto::ListMessagesRequest>,
    ) -> Result<Response<proto::ListMessagesResponse>, Status> {
        unary(request, |request| self.messages(request)).await
    }

    async fn save_whiteboard(
        &self,
        request: Request<proto::SaveWhiteboardRequest>,
    ) -> Result<Response<proto::SaveWhiteboardResponse>, Status> {
        unary(request, |request| self.draw(request)).await
    }

    async fn get_whiteboard(
        &self,
        request: Request<proto::GetWhiteboardRequest>,
    ) -> Result<Response<proto::GetWhiteboardResponse>, Status> {
        unary(request, |request| self.whiteboard(request)).await
    }

    async fn send_signal(
        &self,
        request: Request<proto::SendSignalRequest>,
    ) -> Result<Response<proto::SendSignalResponse>, Status> {
        unary(request, |request| self.signal(request)).await
    }

    type WatchRoomStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchRoomResponse, Status>> + Send>>;

    async fn watch_room(
        &self,
        request: Request<proto::WatchRoomRequest>,
    ) -> Result<Response<Self::WatchRoomStream>, Status> {
        let request = request.into_inner();
        let parsed = convert::code(&request.room_code)
            .and_then(|code| Ok((code, convert::after(request.after)?)));
        let (code, after) = parsed.map_err(|error| from_error(&error.into()))?;
        let stream = watch_room(&self.hub, code, after)
            .await
            .map_err(|error| from_error(&error))?;
        Ok(Response::new(Box::pin(stream)))
    }

    type WatchRoomsStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchRoomsResponse, Status>> + Send>>;

    async fn watch_rooms(
        &self,
        request: Request<Streaming<proto::WatchRoomsRequest>>,
    ) -> Result<Response<Self::WatchRoomsStream>, Status> {
        let frames = watches::serve(self.hub.clone(), request.into_inner());
        Ok(Response::new(Box::pin(frames)))
    }

    type PipelineStream =
        Pin<Box<dyn Stream<Item = Result<proto::PipelineResponse, Status>> + Send>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<proto::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let draining = self.hub.draining.clone();
        let answers = pipeline::serve(self.clone(), request.into_inner(), draining);
        Ok(Response::new(Box::pin(answers)))
    }
}
