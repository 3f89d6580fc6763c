//! Many small calls on one stream: what a call of its own costs in HTTP/2 is shared.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use roomkeeper_proto::v1::{
    self as proto, pipelined_answer::Answer, pipelined_call::Call as Request,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    deadline::in_time,
    service::RoomService,
    status::{from_error, of_request},
};
use crate::{domain::Invalid, rooms::RoomError};

/// How many calls of one stream are worked on at once. The others wait in the transport,
/// whose windows bound them.
const AT_ONCE: usize = 1_024;

/// How many answers go together at most, so that the first is not kept for long.
const TOGETHER: usize = 64;

/// Answers the calls of a stream until its caller ends it or is gone, or the service
/// drains; what was begun is answered. A request that cannot be read ends the stream.
pub(super) fn serve(
    service: RoomService,
    requests: Streaming<proto::PipelineRequest>,
    draining: CancellationToken,
) -> impl Stream<Item = Result<proto::PipelineResponse, Status>> {
    let service = Arc::new(service);
    requests
        .take_until(draining.cancelled_owned())
        .map_err(of_request)
        .map_ok(|request| stream::iter(request.calls.into_iter().map(Ok)))
        .try_flatten()
        .map(move |call: Result<_, Status>| {
            let service = service.clone();
            async move { Ok::<_, Status>(answer(&service, call?).await) }
        })
        .buffer_unordered(AT_ONCE)
        .ready_chunks(TOGETHER)
        .map(|answers| {
            let answers = answers.into_iter().collect::<Result<_, Status>>()?;
            Ok(proto::PipelineResponse { answers })
        })
}

async fn answer(service: &RoomService, call: proto::PipelinedCall) -> proto::PipelinedAnswer {
    let proto::PipelinedCall { id, timeout, call } = call;
    let answered = match timeout.map(Duration::try_from).transpose() {
        Ok(timeout) => in_time(timeout, carry_out(service, call)).await,
        Err(_) => Err(Invalid::new("timeout", "must be positive").into()),
    };
    let answer = answered.unwrap_or_else(|error| {
        let status = from_error(&error);
        Answer::Error(proto::PipelinedError {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: status.details().to_vec(),
        })
    });
    proto::PipelinedAnswer {
        id,
        answer: Some(answer),
    }
}

async fn carry_out(service: &RoomService, call: Option<Request>) -> Result<Answer, RoomError> {
    Ok(match call {
        Some(Request::SaveMessage(request)) => Answer::SaveMessage(service.say(request).await?),
        Some(Request::SaveWhiteboard(request)) => {
            Answer::SaveWhiteboard(service.draw(request).await?)
        }
        Some(Request::SendSignal(request)) => Answer::SendSignal(service.signal(request).await?),
        None => {
            let problem = "must be save_message, save_whiteboard or send_signal";
            return Err(Invalid::new("call", problem).into());
        }
    })
}
