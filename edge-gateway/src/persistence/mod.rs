//! The typed client of persistence-service.
//!
//! Every call has one deadline, however often it is sent. A call that no service has
//! received is sent until that deadline, so that a service may restart in the meantime. A
//! call that may have been received is repeated only if that is safe: reads, joins, leaves,
//! and writes, which always carry a request id.

mod creation;
mod endpoint;
mod pipeline;
mod status;

use std::{future::Future, time::Duration};

use rand::Rng as _;
use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1::{
    self as proto, pipelined_answer::Answer as Pipelined, pipelined_call::Call,
    room_service_client::RoomServiceClient,
};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Response, Status, transport::Channel};
use tracing::{debug, error};

use creation::CreationId;
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

/// How often a call may reach a service: each answer, and each answer that is lost, counts.
/// A call that was not sent does not count, because it costs the services nothing.
const TRIES: u32 = 3;

/// The pause before a call is sent again: the shortest and the longest.
const PAUSES_MS: (u64, u64) = (50, 250);

/// The largest board change that goes on the stream that all sockets share, in bytes; a larger
/// one would hold up the others, and goes as a call of its own.
const MAX_PIPELINED: usize = 16 << 10;

/// What may be done about a call that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It stores nothing: repeat it, and a lost answer is just an unreachable store.
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
    /// A client of the services at `urls`; connects when first used. Its pipelines are some of
    /// `tasks`, which are to be stopped before its last clone is dropped.
    ///
    /// # Errors
    ///
    /// A URL that no channel can be made for.
    pub fn new(urls: &ServiceUrls, tasks: &Tasks) -> Result<Self, tonic::transport::Error> {
        Ok(Self {
            endpoints: Endpoints::new(urls.as_slice(), tasks)?,
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

    /// Creates a room; `request.request_id` makes it safe to repeat, and is known to nobody
    /// else. Where the place of its outcome is away, the service names an id that has another
    /// place, and that is used instead.
    pub async fn create_room(
        &self,
        request: proto::CreateRoomRequest,
    ) -> Result<proto::CreateRoomResponse, Error> {
        let id = CreationId::new(request.request_id.clone());
        let id = &id;
        self.call(
            Repeat::Write,
            request,
            |mut client, mut request| async move {
                request.get_mut().request_id = id.begin();
                let answer = client.create_room(request).await;
                if let Err(status) = &answer {
                    id.refused(status);
                }
                answer
            },
        )
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

    /// Sends a signal to the other members. It is not stored, and members that receive it
    /// twice show the same, so it is repeated as a read is.
    pub async fn send_signal(&self, request: proto::SendSignalRequest) -> Result<(), Error> {
        let call = Call::SendSignal(request);
        let Pipelined::SendSignal(proto::SendSignalResponse {}) =
            self.pipelined(Repeat::Read, call).await?
        else {
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

    /// Sends a call until it is answered, may not be repeated, or its deadline has passed.
    ///
    /// While no service can be reached, the pauses alone bound how often that is.
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
        // How many tries may have reached a service.
        let mut received = 0;

        for (sent, endpoint) in (1..).zip(endpoints.iter().cycle()) {
            let under_way = endpoint.begin_call();
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
                    received += 1;
                    repeat != Repeat::Never
                        && received < TRIES
                        && started.elapsed() < SECOND_THOUGHTS
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
                    received += 1;
                    repeat != Repeat::Never && received < TRIES
                }
            };
            let pause = backoff(sent);
            if !may_repeat || Instant::now() + pause >= deadline {
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

/// The pause after a call was sent so many times: longer each time, and not the same for
/// every caller.
fn backoff(sent: u32) -> Duration {
    let (shortest, longest) = PAUSES_MS;
    let most = longest.min(shortest << sent.min(8));
    Duration::from_millis(rand::rng().random_range(most / 2..=most))
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        sync::atomic::{AtomicU32, Ordering},
    };

    use tokio_util::sync::CancellationToken;

    use super::*;

    fn persistence() -> Persistence {
        let urls = "http://127.0.0.1:1,http://127.0.0.1:2".parse().unwrap();
        Persistence::new(&urls, &Tasks::until(CancellationToken::new())).unwrap()
    }

    /// What comes of a call for which each try ends as `end` says, and how often and for how
    /// long it was sent.
    async fn sent(
        repeat: Repeat,
        end: impl Fn(u32) -> Result<(), Failure>,
    ) -> (Result<(), Error>, u32, Duration) {
        let tries = AtomicU32::new(0);
        let begun = Instant::now();
        let answer = persistence()
            .until_answered(repeat, |_, _| {
                ready(end(tries.fetch_add(1, Ordering::Relaxed)))
            })
            .await;
        (answer, tries.into_inner(), begun.elapsed())
    }

    fn not_sent() -> Result<(), Failure> {
        Err(Failure::NotSent("connection refused".to_owned()))
    }

    fn lost() -> Result<(), Failure> {
        Err(Failure::Lost("connection reset".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_received_is_sent_until_its_deadline() {
        for repeat in [Repeat::Read, Repeat::Write, Repeat::Never] {
            let (answer, tries, took) = sent(repeat, |_| not_sent()).await;
            assert_eq!(answer, Err(Error::StoreUnavailable));
            assert!((8..=20).contains(&tries), "{tries}");
            assert!(took <= DEADLINE && took > DEADLINE - Duration::from_millis(251));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_comes_back_within_a_second_is_sent_the_call() {
        for repeat in [Repeat::Read, Repeat::Write, Repeat::Never] {
            let begun = Instant::now();
            let is_back = |_| match begun.elapsed() < Duration::from_secs(1) {
                true => not_sent(),
                false => Ok(()),
            };
            let (answer, _, took) = sent(repeat, is_back).await;
            assert_eq!(answer, Ok(()));
            assert!(took <= Duration::from_millis(1_251), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_received_three_times_at_most() {
        let (answer, tries, _) = sent(Repeat::Write, |_| lost()).await;
        assert_eq!((answer, tries), (Err(Error::OutcomeUnknown), TRIES));
        let (answer, tries, _) = sent(Repeat::Read, |_| lost()).await;
        assert_eq!((answer, tries), (Err(Error::StoreUnavailable), TRIES));
        let (answer, tries, _) = sent(Repeat::Never, |_| lost()).await;
        assert_eq!((answer, tries), (Err(Error::OutcomeUnknown), 1));
        let refused = |_| Err(Failure::Refused(Error::StoreUnavailable));
        let (answer, tries, _) = sent(Repeat::Write, refused).await;
        assert_eq!((answer, tries), (Err(Error::StoreUnavailable), TRIES));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_lost_before_a_restart_leaves_the_call_in_doubt() {
        let restarts = |tries| match tries {
            0 => lost(),
            _ => not_sent(),
        };
        let (answer, tries, _) = sent(Repeat::Write, restarts).await;
        assert_eq!(answer, Err(Error::OutcomeUnknown));
        assert!(tries > TRIES, "{tries}");
    }

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        for sent in [1, 2, 3, 40] {
            for _ in 0..100 {
                let pause = backoff(sent);
                assert!((50..=250).contains(&pause.as_millis()), "{pause:?}");
                assert!(sent == 1 || pause.as_millis() >= 100);
            }
        }
    }
}
