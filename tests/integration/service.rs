//! The program's gRPC face.

use std::time::{Duration, Instant};

use clap::Parser as _;
use persistence_service::{app, config::Config};
use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1::{self as proto, room_service_client::RoomServiceClient};
use roomkeeper_tests::{RedisServer, soon};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

pub(crate) struct Service {
    pub(crate) client: RoomServiceClient<Channel>,
    pub(crate) address: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

pub(crate) async fn start(redis_url: &str) -> Service {
    let config = Config::try_parse_from(["persistence-service", "--redis-url", redis_url]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(async move {
        let tasks = Tasks::until(CancellationToken::new());
        app::run(config, listener, tasks, async { drop(stopped.await) })
            .await
            .unwrap();
    });
    let client = RoomServiceClient::connect(address.clone()).await.unwrap();
    Service {
        client,
        address,
        stop,
        running,
    }
}

/// Creates a room as soon as the service is connected to its store.
pub(crate) async fn room(client: &mut RoomServiceClient<Channel>) -> String {
    let create = async {
        loop {
            let request = proto::CreateRoomRequest {
                name: "A room".to_owned(),
                created_by: "Ann".to_owned(),
                ..Default::default()
            };
            if let Ok(response) = client.create_room(request).await {
                break response.into_inner().room.unwrap().code;
            }
        }
    };
    soon("a room", create).await
}

pub(crate) fn said(code: &str, text: &str) -> proto::SaveMessageRequest {
    proto::SaveMessageRequest {
        room_code: code.to_owned(),
        user_id: "ann".to_owned(),
        username: "Ann".to_owned(),
        text: text.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn reason(status: &Status) -> String {
    status
        .get_error_details()
        .error_info()
        .unwrap()
        .reason
        .clone()
}

#[tokio::test]
async fn bad_input_is_answered_with_its_field() {
    let redis = RedisServer::start().await;
    let mut service = start(&redis.url()).await;
    let code = room(&mut service.client).await;
    let mut field = async |request: proto::SaveMessageRequest| {
        let status = service.client.save_message(request).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_ARGUMENT")
        );
        status
            .get_error_details()
            .bad_request()
            .unwrap()
            .field_violations[0]
            .field
            .clone()
    };
    assert_eq!(field(said("12345", "hi")).await, "room_code");
    assert_eq!(field(said(&code, " ")).await, "text");
    assert_eq!(field(said(&code, &"x".repeat(4_001))).await, "text");
    let long = "x".repeat(41);
    assert_eq!(
        field(proto::SaveMessageRequest {
            username: long,
            ..said(&code, "hi")
        })
        .await,
        "username"
    );
    let id = "x".repeat(129);
    assert_eq!(
        field(proto::SaveMessageRequest {
            user_id: id,
            ..said(&code, "hi")
        })
        .await,
        "user_id"
    );
    let session = "a b".to_owned();
    assert_eq!(
        field(proto::SaveMessageRequest {
            session_id: session,
            ..said(&code, "hi")
        })
        .await,
        "session_id"
    );
    let request = "7".to_owned();
    assert_eq!(
        field(proto::SaveMessageRequest {
            request_id: request,
            ..said(&code, "hi")
        })
        .await,
        "request_id"
    );

    let status = service
        .client
        .save_message(said("999999", "hi"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "ROOM_NOT_FOUND")
    );
}

#[tokio::test]
async fn one_bad_element_refuses_the_whole_change() {
    let redis = RedisServer::start().await;
    let mut service = start(&redis.url()).await;
    let code = room(&mut service.client).await;
    let element = |id: &str, extra: &str| proto::Element {
        json: format!(r#"{{"id":"{id}","type":"line","version":1,"versionNonce":1{extra}}}"#),
        ..Default::default()
    };
    let draw = |elements| proto::SaveWhiteboardRequest {
        room_code: code.clone(),
        user_id: "ann".to_owned(),
        elements,
        ..Default::default()
    };
    let deep = format!(r#","x":{}{}"#, "[".repeat(64), "]".repeat(64));
    for bad in [
        element("a", ""),
        element("b", r#","type":"line""#),
        element("b", &deep),
        element("b", r#","link":"javascript:alert(1)""#),
        proto::Element {
            json: "null".to_owned(),
            ..Default::default()
        },
    ] {
        let status = service
            .client
            .save_whiteboard(draw(vec![element("a", ""), bad]))
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "INVALID_ARGUMENT", "{status:?}");
        assert!(
            status.message().contains("elements[1]"),
            "{}",
            status.message()
        );
    }
    let many = (0..5_001).map(|i| element(&format!("e{i}"), "")).collect();
    let status = service
        .client
        .save_whiteboard(draw(many))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "PAYLOAD_TOO_LARGE");
    let large = vec![element(
        "a",
        &format!(r#","text":"{}""#, "x".repeat(1 << 20)),
    )];
    let status = service
        .client
        .save_whiteboard(draw(large))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "PAYLOAD_TOO_LARGE");
    let board = service
        .client
        .get_whiteboard(proto::GetWhiteboardRequest {
            room_code: code.clone(),
            after: None,
        })
        .await
        .unwrap();
    assert!(board.into_inner().elements.is_empty());
}

#[tokio::test]
async fn without_redis_calls_are_answered_as_unavailable_and_recover_by_themselves() {
    let mut redis = RedisServer::start().await;
    let mut service = start(&redis.url()).await;
    let code = room(&mut service.client).await;
    redis.kill().await;
    for _ in 0..3 {
        let begun = Instant::now();
        let status = service
            .client
            .save_message(said(&code, "lost"))
            .await
            .unwrap_err();
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "answered within two seconds"
        );
        assert!(
            ["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"].contains(&reason(&status).as_str()),
            "{status:?}"
        );
    }
    let status = service
        .client
        .save_message(said(&code, "lost"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "STORE_UNAVAILABLE")
    );
    redis.restart().await;
    let recovered = async {
        while service
            .client
            .save_message(said(&code, "back"))
            .await
            .is_err()
        {}
    };
    soon("the recovery", recovered).await;
}

#[tokio::test]
async fn one_stream_carries_many_rooms_and_ends_when_the_service_drains() {
    use proto::{watch_rooms_request::Command, watch_rooms_response::Frame};

    let redis = RedisServer::start().await;
    let mut service = start(&redis.url()).await;
    let codes = [
        room(&mut service.client).await,
        room(&mut service.client).await,
    ];
    let (commands, outgoing) = tokio::sync::mpsc::channel(8);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let watch = |id, code: &str| proto::WatchRoomsRequest {
        command: Some(Command::Watch(proto::Watch {
            watch_id: id,
            room_code: code.to_owned(),
            after: None,
        })),
    };
    commands.send(watch(7, &codes[0])).await.unwrap();
    commands.send(watch(8, &codes[1])).await.unwrap();
    commands.send(watch(9, "999999")).await.unwrap();
    commands.send(watch(10, "nonsense")).await.unwrap();
    let mut frames = service
        .client
        .watch_rooms(outgoing)
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        let frame = soon("a frame", frames.message()).await.unwrap();
        frame.map(|frame| (frame.watch_id, frame.frame.unwrap()))
    };
    let mut closed = Vec::new();
    let mut live = Vec::new();
    for _ in 0..4 {
        match next().await.unwrap() {
            (id, Frame::CaughtUp(_)) => live.push(id),
            (id, Frame::Closed(why)) => closed.push((id, why.reason())),
            (id, Frame::Event(event)) => panic!("{id}: {event:?}"),
        }
    }
    live.sort_unstable();
    closed.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(live, [7, 8]);
    assert_eq!(
        closed,
        [
            (9, proto::CloseReason::NotFound),
            (10, proto::CloseReason::Invalid)
        ]
    );

    service
        .client
        .save_message(said(&codes[1], "hi"))
        .await
        .unwrap();
    assert!(matches!(next().await.unwrap(), (8, Frame::Event(_))));

    commands
        .send(proto::WatchRoomsRequest {
            command: Some(Command::Unwatch(proto::Unwatch { watch_id: 8 })),
        })
        .await
        .unwrap();
    service.stop.send(()).unwrap();
    let mut drained = false;
    while let Some((id, frame)) = next().await {
        if let (7, Frame::Closed(why)) = (id, frame) {
            drained = why.reason() == proto::CloseReason::Draining;
        }
    }
    assert!(drained);
    soon("the end of the program", service.running)
        .await
        .unwrap();
}

#[tokio::test]
async fn calls_on_a_pipeline_are_answered_each_for_itself() {
    use proto::{pipelined_answer::Answer, pipelined_call::Call};

    let redis = RedisServer::start().await;
    let mut service = start(&redis.url()).await;
    let code = room(&mut service.client).await;
    let call = |id, call| proto::PipelinedCall {
        id,
        timeout: None,
        call,
    };
    let say = |code: &str, text: &str| Some(Call::SaveMessage(said(code, text)));
    let draw = Some(Call::SaveWhiteboard(proto::SaveWhiteboardRequest {
        room_code: code.clone(),
        user_id: "ann".to_owned(),
        elements: vec![proto::Element {
            json: r#"{"id":"a","type":"line","version":1,"versionNonce":1}"#.to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    }));
    let signal = Some(Call::SendSignal(proto::SendSignalRequest {
        room_code: code.clone(),
        user_id: "ann".to_owned(),
        username: "Ann".to_owned(),
        kind: "typing".to_owned(),
        ..Default::default()
    }));
    let late = proto::PipelinedCall {
        timeout: Some(prost_types::Duration::default()),
        ..call(7, say(&code, "late"))
    };
    let backwards = proto::PipelinedCall {
        timeout: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        ..call(8, say(&code, "backwards"))
    };
    let (requests, outgoing) = tokio::sync::mpsc::channel(2);
    let first = vec![
        call(1, say(&code, "one")),
        call(2, say("999999", "nowhere")),
        call(3, say(&code, " ")),
        call(4, draw),
        call(5, signal),
        call(6, None),
        late,
        backwards,
    ];
    let second = vec![call(9, say(&code, "nine"))];
    for calls in [first, second] {
        let request = proto::PipelineRequest { calls };
        requests.send(request).await.unwrap();
    }
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut responses = service
        .client
        .pipeline(outgoing)
        .await
        .unwrap()
        .into_inner();
    let mut answers = std::collections::BTreeMap::new();
    while answers.len() < 9 {
        let response = soon("answers", responses.message()).await.unwrap();
        for answer in response.unwrap().answers {
            let told = match answer.answer.unwrap() {
                Answer::SaveMessage(saved) => saved.message.unwrap().text,
                Answer::SaveWhiteboard(saved) => saved.accepted_count.to_string(),
                Answer::SendSignal(_) => "told".to_owned(),
                Answer::Error(error) => {
                    let code = Code::from_i32(error.code);
                    reason(&Status::with_details(
                        code,
                        error.message,
                        error.details.into(),
                    ))
                }
            };
            assert_eq!(answers.insert(answer.id, told), None, "one answer to each");
        }
    }
    let answers: Vec<(u64, &str)> = answers
        .iter()
        .map(|(id, told)| (*id, told.as_str()))
        .collect();
    assert_eq!(
        answers,
        [
            (1, "one"),
            (2, "ROOM_NOT_FOUND"),
            (3, "INVALID_ARGUMENT"),
            (4, "1"),
            (5, "told"),
            (6, "INVALID_ARGUMENT"),
            (7, "OUTCOME_UNKNOWN"),
            (8, "INVALID_ARGUMENT"),
            (9, "nine"),
        ]
    );

    // A service that stops ends it, and the program ends.
    service.stop.send(()).unwrap();
    let end = soon("the end of the stream", responses.message()).await;
    assert_eq!(end.unwrap(), None);
    soon("the end of the program", service.running)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stream_that_is_not_read_costs_nobody_else_and_comes_back_to_the_difference() {
    use proto::{watch_rooms_request::Command, watch_rooms_response::Frame};

    const MESSAGES: usize = 1_500;
    let redis = RedisServer::start().await;
    let mut service = start(&redis.url()).await;
    let code = room(&mut service.client).await;
    let watch = || proto::WatchRoomsRequest {
        command: Some(Command::Watch(proto::Watch {
            watch_id: 1,
            room_code: code.clone(),
            after: None,
        })),
    };
    // Each on a connection of its own, as two gateways would be.
    let mut streams = Vec::new();
    let mut commands = Vec::new();
    for _ in 0..2 {
        let (sender, outgoing) = tokio::sync::mpsc::channel(1);
        sender.send(watch()).await.unwrap();
        commands.push(sender);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut client = RoomServiceClient::connect(service.address.clone())
            .await
            .unwrap();
        let frames = client.watch_rooms(outgoing).await.unwrap();
        streams.push(frames.into_inner());
    }
    let [mut reader, mut slow]: [_; 2] = streams.try_into().unwrap();
    let next = async |frames: &mut tonic::Streaming<proto::WatchRoomsResponse>| {
        let frame = soon("a frame", frames.message()).await.unwrap();
        frame.unwrap().frame.unwrap()
    };
    assert!(matches!(next(&mut reader).await, Frame::CaughtUp(_)));
    assert!(matches!(next(&mut slow).await, Frame::CaughtUp(_)));

    let mut slowest = Duration::ZERO;
    let text = "x".repeat(4_000);
    for _ in 0..MESSAGES {
        let begun = Instant::now();
        let saved = service.client.save_message(said(&code, &text));
        saved.await.unwrap();
        assert!(matches!(next(&mut reader).await, Frame::Event(_)));
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let last = service.client.save_message(said(&code, "the last"));
    let last = last.await.unwrap().into_inner().message.unwrap().revision;

    let (mut at, mut received, mut truncated) = (0, 0, false);
    while at < last {
        match next(&mut slow).await {
            Frame::Event(event) => {
                received += 1;
                at = event.position.unwrap().revision;
            }
            Frame::CaughtUp(read) => {
                received += read.messages.len();
                truncated |= read.history_truncated;
                at = read.position.unwrap().revision;
            }
            Frame::Closed(closed) => panic!("{closed:?}"),
        }
    }
    assert!(truncated, "what it could not be given is said");
    assert!(received < MESSAGES, "{received} were kept for it");
}
