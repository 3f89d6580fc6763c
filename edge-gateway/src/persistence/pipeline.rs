//! The many small calls of sockets to one service, carried on one stream.
//!
//! A call of its own costs each side more in HTTP/2 than what it asks for does. Here calls
//! that come at the same time go in one message.

use std::{collections::HashMap, time::Duration};

use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1::{
    self as proto, pipelined_answer::Answer, pipelined_call::Call,
    room_service_client::RoomServiceClient,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};
use tracing::debug;

use super::status::{Failure, classify};
use crate::error::Error;

/// How many calls may wait to be sent, and how many to be answered: as many as the service
/// lets be under way at its store. One more is refused.
const CALLS: usize = 4_096;

/// How many calls go together at most, so that a message stays small.
const TOGETHER: usize = 64;

/// How long opening the stream may take: as long as a call.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// A way to send calls to one service. Its stream is opened when first needed, and again
/// after it broke.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    calls: mpsc::Sender<Waiting>,
}

/// Whom to tell what came of a call.
type Asker = oneshot::Sender<Result<Answer, Failure>>;

/// A call that waits to be sent.
#[derive(Debug)]
struct Waiting {
    call: Call,
    deadline: Instant,
    asker: Asker,
}

impl Pipeline {
    /// A pipeline to the service that `client` calls, carried by one of `tasks`. The last
    /// handle is to live until they are stopped.
    pub(super) fn new(client: RoomServiceClient<Channel>, tasks: &Tasks) -> Self {
        let (sender, calls) = mpsc::channel(CALLS);
        tasks.spawn("pipeline", run(client, calls));
        Self { calls: sender }
    }

    /// Sends a call, once, and waits for its answer. The service gives up at `deadline`; so
    /// should whoever waits here, since a service may be silent.
    pub(super) async fn call(&self, call: Call, deadline: Instant) -> Result<Answer, Failure> {
        let (asker, answer) = oneshot::channel();
        let waiting = Waiting {
            call,
            deadline,
            asker,
        };
        if self.calls.try_send(waiting).is_err() {
            return Err(Failure::Refused(Error::StoreUnavailable));
        }
        // Each is answered, if only with a failure, unless the whole program ends.
        answer
            .await
            .unwrap_or_else(|_| Err(Failure::Lost("the gateway stops".to_owned())))
    }
}

/// Keeps a stream whenever there is something to send.
async fn run(mut client: RoomServiceClient<Channel>, mut calls: mpsc::Receiver<Waiting>) {
    let mut unsent = Vec::new();
    while calls.recv_many(&mut unsent, TOGETHER).await > 0 {
        let (outbound, requests) = mpsc::channel(1);
        let opening = client.pipeline(ReceiverStream::new(requests));
        let failure = match timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(answers)) => carry(answers.into_inner(), outbound, &mut calls, &mut unsent).await,
            Ok(Err(status)) => match classify(&status) {
                // The stream was asked for, and no call.
                Failure::Lost(problem) | Failure::NotSent(problem) => Failure::NotSent(problem),
                failure @ (Failure::Refused(_) | Failure::Broken(_)) => failure,
            },
            Err(_elapsed) => Failure::NotSent("the stream was not opened in time".to_owned()),
        };
        // Those who asked meanwhile may ask another service.
        while let Ok(waiting) = calls.try_recv() {
            unsent.push(waiting);
        }
        for waiting in unsent.drain(..) {
            // Whoever asked may have given up.
            let _ = waiting.asker.send(Err(failure.clone()));
        }
    }
}

/// Carries calls there and answers back until the stream ends. Says what that means for
/// calls that were not sent.
async fn carry(
    mut answers: Streaming<proto::PipelineResponse>,
    outbound: mpsc::Sender<proto::PipelineRequest>,
    calls: &mut mpsc::Receiver<Waiting>,
    unsent: &mut Vec<Waiting>,
) -> Failure {
    let mut unanswered = Unanswered::default();
    let why = loop {
        tokio::select! {
            response = answers.message() => match response {
                Ok(Some(response)) => unanswered.take(response),
                Ok(None) => break "the service ended the stream".to_owned(),
                Err(status) => break format!("{}: {}", status.code(), status.message()),
            },
            place = gather(&outbound, calls, unsent), if unanswered.have_room() => match place {
                Some(place) => place.send(unanswered.add(unsent.drain(..))),
                None => break "the stream is closed".to_owned(),
            },
        }
    };
    debug!(why, "a pipeline ended");
    for asker in unanswered.askers.into_values() {
        // Whoever asked may have given up.
        let _ = asker.send(Err(Failure::Lost(why.clone())));
    }
    Failure::NotSent(why)
}

/// Waits for calls and for a place to send them; `None` where neither can come any more.
/// What it has gathered stays in `unsent` when it is dropped.
async fn gather<'a>(
    outbound: &'a mpsc::Sender<proto::PipelineRequest>,
    calls: &mut mpsc::Receiver<Waiting>,
    unsent: &mut Vec<Waiting>,
) -> Option<mpsc::Permit<'a, proto::PipelineRequest>> {
    if unsent.is_empty() && calls.recv_many(unsent, TOGETHER).await == 0 {
        return None;
    }
    let place = outbound.reserve().await.ok()?;
    // Whoever is just about to ask goes along.
    yield_now().await;
    while unsent.len() < TOGETHER
        && let Ok(waiting) = calls.try_recv()
    {
        unsent.push(waiting);
    }
    Some(place)
}

/// The calls of a stream that were sent and not answered.
#[derive(Debug, Default)]
struct Unanswered {
    askers: HashMap<u64, Asker>,
    next_id: u64,
}

impl Unanswered {
    /// Whether more may be sent. Those whose askers have given up do not count.
    fn have_room(&mut self) -> bool {
        if self.askers.len() >= CALLS {
            self.askers.retain(|_, asker| !asker.is_closed());
        }
        self.askers.len() < CALLS
    }

    /// A message of those calls that somebody still waits for.
    fn add(&mut self, calls: impl Iterator<Item = Waiting>) -> proto::PipelineRequest {
        let now = Instant::now();
        let calls = calls
            .filter(|waiting| !waiting.asker.is_closed())
            .map(|waiting| {
                self.next_id += 1;
                self.askers.insert(self.next_id, waiting.asker);
                let left = waiting.deadline.saturating_duration_since(now);
                proto::PipelinedCall {
                    id: self.next_id,
                    // The standard durations of a call fit.
                    timeout: left.try_into().ok(),
                    call: Some(waiting.call),
                }
            })
            .collect();
        proto::PipelineRequest { calls }
    }

    /// Hands answers to those who wait for them.
    fn take(&mut self, response: proto::PipelineResponse) {
        for proto::PipelinedAnswer { id, answer } in response.answers {
            let Some(asker) = self.askers.remove(&id) else {
                debug!(id, "an answer to no call");
                continue;
            };
            let answered = match answer {
                Some(Answer::Error(error)) => Err(classify(&Status::with_details(
                    Code::from_i32(error.code),
                    error.message,
                    error.details.into(),
                ))),
                Some(answer) => Ok(answer),
                None => Err(Failure::Broken("an empty answer".to_owned())),
            };
            // Whoever asked may have given up.
            let _ = asker.send(answered);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn waiting(text: &str) -> (Waiting, oneshot::Receiver<Result<Answer, Failure>>) {
        let (asker, answer) = oneshot::channel();
        let call = Call::SaveMessage(proto::SaveMessageRequest {
            text: text.to_owned(),
            ..Default::default()
        });
        let deadline = Instant::now() + Duration::from_secs(1);
        let waiting = Waiting {
            call,
            deadline,
            asker,
        };
        (waiting, answer)
    }

    fn answer(id: u64, answer: Option<Answer>) -> proto::PipelineResponse {
        let answers = vec![proto::PipelinedAnswer { id, answer }];
        proto::PipelineResponse { answers }
    }

    #[tokio::test]
    async fn answers_reach_those_who_asked_in_whatever_order_they_come() {
        let mut unanswered = Unanswered::default();
        let (one, first) = waiting("one");
        let (two, second) = waiting("two");
        let (three, third) = waiting("three");
        let request = unanswered.add([one, two, three].into_iter());
        let ids: Vec<u64> = request.calls.iter().map(|call| call.id).collect();
        assert!(request.calls.iter().all(|call| call.timeout.is_some()));

        let saved = Answer::SaveMessage(proto::SaveMessageResponse::default());
        unanswered.take(answer(ids[1], Some(saved.clone())));
        unanswered.take(answer(ids[1], Some(saved.clone())));
        unanswered.take(answer(ids[2], None));
        let error = proto::PipelinedError {
            code: Code::Unavailable.into(),
            ..Default::default()
        };
        unanswered.take(answer(ids[0], Some(Answer::Error(error))));
        assert!(matches!(first.await.unwrap(), Err(Failure::NotSent(_))));
        assert_eq!(second.await.unwrap(), Ok(saved));
        assert!(matches!(third.await.unwrap(), Err(Failure::Broken(_))));
        assert!(unanswered.askers.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_not_sent_and_takes_no_place() {
        let mut unanswered = Unanswered::default();
        let (given_up, answer) = waiting("given up");
        drop(answer);
        assert_eq!(unanswered.add([given_up].into_iter()).calls, []);

        let (calls, mut answers): (Vec<_>, Vec<_>) = (0..CALLS).map(|_| waiting("one")).unzip();
        unanswered.add(calls.into_iter());
        assert!(!unanswered.have_room());
        answers.pop();
        assert!(unanswered.have_room());
    }

    #[tokio::test]
    async fn where_no_service_is_a_call_is_not_sent() {
        // Nothing listens there.
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let pipeline = Pipeline::new(
            RoomServiceClient::new(channel),
            &Tasks::until(CancellationToken::new()),
        );
        let (waiting, _) = waiting("one");
        let answer = pipeline.call(waiting.call, waiting.deadline).await;
        assert!(matches!(answer, Err(Failure::NotSent(_))), "{answer:?}");
    }
}
