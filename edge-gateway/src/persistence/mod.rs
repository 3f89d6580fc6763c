//! The typed client of persistence-service.
//!
//! Every call has one deadline, however often it is tried. What is tried again is only what
//! is safe to repeat: reads, joins, leaves, and writes, which always carry a request id.

mod endpoint;
mod pipeline;
mod status;

use std::{future::Future, time::Duration};

use rand::Rng as _;
use roomkeeper_proto::v1::{
    self as proto, pipelined_answer::Answer as Pipelined, pipelined_call::Call,
    room_service_client::RoomServiceClient,
};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Response, Status, transport::Channel};
use tracing::{debug, error};

pub(crate) use endpoint::Counted;
use endpoint::Endpoints;
pub use endpoint::{Endpoint, Health};
use status::{Failure, classify};

use crate::{config::ServiceUrls, error::Error};

/// How long one call may take, all its tries together.
const DEADLINE: Duration = Duration::from_secs(2);

/// A failure that the service itself reported is tried again only within this time, so
/// that its answer, the truest there is, is not traded for a deadline.
const SECOND_THOUGHTS: Duration = Duration::from_millis(500);

/// How often a call is sent at most.
const TRIES: u32 = 3;

/// The largest board change that goes on the stream that all sockets share, in bytes; a larger
/// one would hold up the others, and goes as a call of its own.
const MAX_PIPELINED: usize = 16 << 10;

/// What may be done about a call that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It changes nothing: repeat it, and a lost answer is just an unreachable store.
    Read,
    /// It changes something, but twice is as good as once.
    Write,
    /// Once is once: repeat it only if it was never sent.
    Never,
}

/// persistence-service, wherever it is.
#[derive(Debug, Clone)]
pub struct Persistence {
    endpoints: Endpoints,
}

impl Persistence {
    /// A client of the services at `urls`; connects when first used.
    ///
    /// # Errors
    ///
    /// A URL that no channel can be made for.
    pub fn new(urls: &ServiceUrls) -> Result<Self, tonic::transport::Error> {
        Ok(Self {
            endpoints: Endpoints::new(urls.as_slice())?,
        })
    }

    /// The services in the order in which a room is best watched: the healthy ones, the
    /// least watched first, then the others.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.for_a_watch()
    }

    /// Waits until a service does not serve and another one does, so that what is watched
    /// there is better watched elsewhere.
    pub(crate) async fn unfit(&self, endpoint: &Endpoint) {
        self.endpoints.unfit(endpoint).await;
    }

    /// Whether some service can be reached and serves.
    pub async fn is_ready(&self) -> bool {
        let checks = self
            .endpoints
            .for_a_call()
            .into_iter()
            .map(|endpoint| async move { endpoint.probe().await });
        futures_util::future::join_all(checks)
            .await
            .into_iter()
            .any(|serving| serving)
    }

    /// Keeps an eye on the services' health, for ever.
    pub async fn watch_health(self) {
        self.endpoints.watch_health().await;
    }

    /// Creates a room; `request.request_id` makes it safe to repeat.
    pub async fn create_room(
        &self,
        request: proto::CreateRoomRequest,
    ) -> Result<proto::CreateRoomResponse, Error> {
        self.call(Repeat::Write, request, |mut client, request| async move {
            client.create_room(request).await
        })
        .await
    }

    /// Returns a room.
    pub async fn get_room(&self, room_code: String) -> Result<proto::GetRoomResponse, Error> {
        let request = proto::GetRoomRequest { room_code };
        self.call(Repeat::Read, request, |mut client, request| async move {
            client.get_room(request).await
        })
        .await
    }

    /// Lists living rooms.
    pub async fn list_rooms(
        &self,
        request: proto::ListRoomsRequest,
    ) -> Result<proto::ListRoomsResponse, Error> {
        self.call(Repeat::Read, request, |mut client, request| async move {
            client.list_rooms(request).await
        })
        .await
    }

    /// Deletes a room.
    pub async fn delete_room(&self, room_code: String) -> Result<(), Error> {
        let request = proto::DeleteRoomRequest { room_code };
        self.call(Repeat::Never, request, |mut client, request| async move {
            client.delete_room(request).await
        })
        .await
        .map(|proto::DeleteRoomResponse {}| ())
    }

    /// Returns a room with how much it holds.
    pub async fn get_room_stats(
        &self,
        room_code: String,
    ) -> Result<proto::GetRoomStatsResponse, Error> {
        let request = proto::GetRoomStatsRequest { room_code };
        self.call(Repeat::Read, request, |mut client, request| async move {
            client.get_room_stats(request).await
        })
        .await
    }

    /// Makes a session a member of a room and returns what the room holds.
    pub async fn join_room(
        &self,
        request: proto::JoinRoomRequest,
    ) -> Result<proto::JoinRoomResponse, Error> {
        self.call(Repeat::Write, request, |mut client, request| async move {
            client.join_room(request).await
        })
        .await
    }

    /// Ends a session's membership.
    pub async fn leave_room(&self, request: proto::LeaveRoomRequest) -> Result<(), Error> {
        self.call(Repeat::Write, request, |mut client, request| async move {
            client.leave_room(request).await
        })
        .await
        .map(|proto::LeaveRoomResponse {}| ())
    }

    /// Renews sessions and returns those that their rooms do not know.
    pub async fn renew_sessions(
        &self,
        sessions: Vec<proto::SessionRef>,
    ) -> Result<Vec<proto::SessionRef>, Error> {
        let request = proto::RenewSessionsRequest { sessions };
        self.call(Repeat::Write, request, |mut client, request| async move {
            client.renew_sessions(request).await
        })
        .await
        .map(|response| response.unknown_sessions)
    }

    /// Saves a chat message; `request.request_id` makes it safe to repeat.
    pub async fn save_message(
        &self,
        request: proto::SaveMessageRequest,
    ) -> Result<proto::SaveMessageResponse, Error> {
        let call = Call::SaveMessage(request);
        let Pipelined::SaveMessage(saved) = self.pipelined(Repeat::Write, call).await? else {
            return Err(mixed_up());
        };
        Ok(saved)
    }

    /// Lists a room's messages.
    pub async fn list_messages(
        &self,
        request: proto::ListMessagesRequest,
    ) -> Result<proto::ListMessagesResponse, Error> {
        self.call(Repeat::Read, request, |mut client, request| async move {
            client.list_messages(request).await
        })
        .await
    }

    /// Merges a change into a board; `request.request_id` makes it safe to repeat.
    pub async fn save_whiteboard(
        &self,
        request: proto::SaveWhiteboardRequest,
    ) -> Result<proto::SaveWhiteboardResponse, Error> {
        let size: usize = request.elements.iter().map(|one| one.json.len()).sum();
        if size <= MAX_PIPELINED {
            let call = Call::SaveWhiteboard(request);
            let Pipelined::SaveWhiteboard(saved) = self.pipelined(Repeat::Write, call).await?
            else {
                return Err(mixed_up());
            };
            return Ok(saved);
        }
        self.call(Repeat::Write, request, |mut client, request| async move {
            client.save_whiteboard(request).await
        })
        .await
    }

    /// Returns a room's living board.
    pub async fn get_whiteboard(
        &self,
        room_code: String,
    ) -> Result<proto::GetWhiteboardResponse, Error> {
        let request = proto::GetWhiteboardRequest {
            room_code,
            after: None,
        };
        self.call(Repeat::Read, request, |mut client, request| async move {
            client.get_whiteboard(request).await
        })
        .await
    }

    /// Tells something momentary; what is lost is lost, so it is not repeated.
    pub async fn send_signal(&self, request: proto::SendSignalRequest) -> Result<(), Error> {
        let call = Call::SendSignal(request);
        let answer = match self.pipelined(Repeat::Never, call).await {
            // Nothing is stored, so there is no outcome to wonder about.
            Err(Error::OutcomeUnknown) => return Err(Error::StoreUnavailable),
            answer => answer?,
        };
        let Pipelined::SendSignal(proto::SendSignalResponse {}) = answer else {
            return Err(mixed_up());
        };
        Ok(())
    }

    /// Makes a call of its own.
    async fn call<Req, Res, Answer>(
        &self,
        repeat: Repeat,
        request: Req,
        send: impl Fn(RoomServiceClient<Channel>, Request<Req>) -> Answer,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        Answer: Future<Output = Result<Response<Res>, Status>>,
    {
        self.until_answered(repeat, |endpoint, deadline| {
            let mut message = Request::new(request.clone());
            message.set_timeout(deadline - Instant::now());
            let answer = send(endpoint.client(), message);
            async {
                Ok(answer
                    .await
                    .map_err(|status| classify(&status))?
                    .into_inner())
            }
        })
        .await
    }

    /// Makes a call on the stream that all small ones share.
    async fn pipelined(&self, repeat: Repeat, call: Call) -> Result<Pipelined, Error> {
        self.until_answered(repeat, |endpoint, deadline| {
            let call = call.clone();
            async move { endpoint.pipeline().call(call, deadline).await }
        })
        .await
    }

    /// Sends a call until it is answered, may not be repeated, or the deadline is over.
    async fn until_answered<Res, Answer>(
        &self,
        repeat: Repeat,
        send: impl Fn(Endpoint, Instant) -> Answer,
    ) -> Result<Res, Error>
    where
        Answer: Future<Output = Result<Res, Failure>>,
    {
        let started = Instant::now();
        let deadline = started + DEADLINE;
        let endpoints = self.endpoints.for_a_call();
        // Set once a try may have reached the store without our knowing what became of it.
        let mut in_doubt = false;

        for attempt in 1..=TRIES {
            let endpoint = &endpoints[(attempt as usize - 1) % endpoints.len()];
            let under_way = endpoint.is_called();
            let answer = tokio::select! {
                answer = send(endpoint.clone(), deadline) => Some(answer),
                () = self.endpoints.silenced(endpoint) => None,
                () = sleep_until(deadline) => None,
            };
            drop(under_way);
            let failure = match answer {
                Some(Ok(response)) => return Ok(response),
                Some(Err(failure)) => failure,
                // Whether the service is silent is for its health to say: this may be slow.
                None => Failure::Lost("no answer in time".to_owned()),
            };
            let may_repeat = match failure {
                Failure::Refused(error @ (Error::StoreUnavailable | Error::OutcomeUnknown)) => {
                    in_doubt |= error == Error::OutcomeUnknown;
                    repeat != Repeat::Never && started.elapsed() < SECOND_THOUGHTS
                }
                Failure::Refused(error) => return Err(error),
                Failure::Broken(problem) => {
                    error!(service.url = %endpoint.url(), "unexpected answer: {problem}");
                    return Err(Error::Internal);
                }
                Failure::NotSent(problem) => {
                    debug!(service.url = %endpoint.url(), "not reachable: {problem}");
                    endpoint.turns_out(Health::Silent);
                    true
                }
                Failure::Lost(problem) => {
                    debug!(service.url = %endpoint.url(), "no answer: {problem}");
                    in_doubt = true;
                    repeat != Repeat::Never
                }
            };
            let pause = backoff(attempt);
            if !may_repeat || attempt == TRIES || Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
        }
        if in_doubt && repeat != Repeat::Read {
            Err(Error::OutcomeUnknown)
        } else {
            Err(Error::StoreUnavailable)
        }
    }
}

/// What an answer to another call than was made comes to.
fn mixed_up() -> Error {
    error!("an answer to another call");
    Error::Internal
}

/// A pause before the next try: longer each time, and not the same for everybody.
fn backoff(attempt: u32) -> Duration {
    let most = 50 << attempt.min(4);
    Duration::from_millis(rand::rng().random_range(most / 2..=most))
}
