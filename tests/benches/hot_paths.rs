//! The pure work on the path of one message: its time, by divan, and with `--instructions`
//! its instructions, counted by callgrind, which do not depend on what else the machine
//! does. The counts go to docs/performance.md.

#![expect(clippy::print_stdout, reason = "what it measures is what it is for")]
#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

#[path = "load/document.rs"]
mod document;

use std::{env, fmt::Write as _, fs, hint::black_box, process::Command};

use edge_gateway::hot_paths as gateway;
use edge_gateway::values::RoomCode;
use persistence_service::{domain, hot_paths as service};
use prost::Message as _;
use roomkeeper_proto::v1 as proto;

/// One piece of work with what it works on.
struct Path {
    name: &'static str,
    work: Box<dyn FnMut() -> usize>,
}

/// All of them, in the order of a message's way.
fn paths() -> Vec<Path> {
    let text = "and so on ".repeat(30);
    let said = format!(
        r#"["chat:message",{{"roomId":"123456","userId":"ann","username":"Ann","message":"{text}"}}]"#
    );
    let one = element(7, 2);
    let stroke = stroke(500);
    let drawn = format!(r#"["whiteboard-change",{{"roomId":"123456","elements":[{one}]}}]"#);
    let scene: Vec<String> = (0..400).map(|i| element(i, 1)).collect();
    let drawn_scene = format!(
        r#"["whiteboard-change",{{"roomId":"123456","elements":[{}]}}]"#,
        scene.join(",")
    );
    let published = published(&text);
    let code = domain::RoomCode::parse("room_code", "123456").unwrap();
    let room = RoomCode::parse("roomId", "123456").unwrap();
    let message = proto::RoomEvent {
        room_code: "123456".to_owned(),
        position: Some(proto::Position {
            epoch: 1_795_476_978_399_191,
            revision: 1_795_476_978_454_730,
        }),
        previous: 1_795_476_978_454_000,
        session_id: "0123456789abcdef:0123456789abcdef:1".to_owned(),
        kind: Some(proto::room_event::Kind::MessageSaved(proto::MessageSaved {
            message: Some(proto::Message {
                id: "0b0cf3a5-6a6d-4b26-9d55-1f7b8a0a4a55".to_owned(),
                room_code: "123456".to_owned(),
                user_id: "ann".to_owned(),
                username: "Ann".to_owned(),
                text: text.clone(),
                revision: 1_795_476_978_454_730,
                ..Default::default()
            }),
        })),
        ..Default::default()
    };
    let stored = |json: &str, id: usize, revision| proto::Element {
        id: format!("element-{id}"),
        version: revision,
        revision,
        json: json.to_owned(),
        ..Default::default()
    };
    let board: Vec<_> = scene
        .iter()
        .enumerate()
        .map(|(i, json)| stored(json, i, 1))
        .collect();
    let mut merged = gateway::MergedBoard::new(&board);
    let mut revision = 1;

    vec![
        Path {
            name: "gateway: parse and check chat:message, 300 B",
            work: Box::new(move || gateway::parse_chat_message(black_box(&said))),
        },
        Path {
            name: "gateway: parse and check whiteboard-change, one element",
            work: Box::new(move || gateway::parse_whiteboard_change(black_box(&drawn))),
        },
        Path {
            name: "gateway: parse and check whiteboard-change, a scene of 400",
            work: Box::new(move || gateway::parse_whiteboard_change(black_box(&drawn_scene))),
        },
        Path {
            name: "service: check a message and make its fingerprint",
            work: Box::new(move || {
                let id = black_box("0b0cf3a5-6a6d-4b26-9d55-1f7b8a0a4a55");
                service::check_message(id, "ann", black_box(&text))
            }),
        },
        Path {
            name: "service: check an element",
            work: Box::new(move || service::check_element(black_box(&one))),
        },
        Path {
            name: "service: check a stroke of 500 points",
            work: Box::new(move || service::check_element(black_box(&stroke))),
        },
        Path {
            name: "service: decode a message of the feed and hand it on",
            work: Box::new(move || {
                let frame = service::hand_on_event(code, black_box(&published)).unwrap();
                frame.encode_to_vec().len()
            }),
        },
        Path {
            name: "gateway: translate a message for its sockets",
            work: Box::new(move || gateway::translate_event(&room, black_box(message.clone()))),
        },
        Path {
            name: "gateway: merge one element into a board of 400",
            work: Box::new(move || {
                revision += 1;
                merged.merge(black_box(&[stored(&board[7].json, 7, revision)]));
                1
            }),
        },
    ]
}

fn element(i: usize, version: u64) -> String {
    format!(
        r##"{{"id":"element-{i}","type":"rectangle","version":{version},"versionNonce":7,"isDeleted":false,"index":"a{i:05}V","x":1.5,"y":2.25,"width":120,"height":80,"strokeColor":"#1e1e1e","note":"{}"}}"##,
        "x".repeat(80)
    )
}

/// A stroke as Excalidraw writes it.
fn stroke(points: u32) -> String {
    let points: Vec<String> = (0..points)
        .map(|i| format!("[{},{}]", f64::from(i) * 1.237, f64::from(i % 50) * -0.618))
        .collect();
    format!(
        r##"{{"id":"stroke","type":"freedraw","version":500,"versionNonce":7,"isDeleted":false,"index":"a0","x":1.5,"y":2.25,"width":618.5,"height":30.9,"angle":0,"strokeColor":"#1e1e1e","backgroundColor":"transparent","fillStyle":"solid","strokeWidth":2,"strokeStyle":"solid","roughness":1,"opacity":100,"groupIds":[],"frameId":null,"roundness":null,"seed":7,"boundElements":null,"updated":1795476978454,"link":null,"locked":false,"points":[{}],"pressures":[],"simulatePressure":true,"lastCommittedPoint":null}}"##,
        points.join(",")
    )
}

/// A message as the store publishes it.
fn published(text: &str) -> Vec<u8> {
    let json = format!(
        r#"{{"id":"0b0cf3a5-6a6d-4b26-9d55-1f7b8a0a4a55","roomId":"123456","userId":"ann","username":"Ann","message":"{text}","timestamp":1795476978454,"revision":1795476978454730}}"#
    );
    let fields = [
        "message",
        "1795476978399191",
        "1795476978454730",
        "1795476978454000",
        "1795563378454",
        "0123456789abcdef:0123456789abcdef:1",
        &json,
    ];
    let mut published = String::new();
    for field in fields {
        write!(published, "{}:{field}", field.len()).unwrap();
    }
    published.into_bytes()
}

#[divan::bench(args = 0..paths().len())]
fn path(bencher: divan::Bencher<'_, '_>, i: usize) {
    let mut path = paths().swap_remove(i);
    bencher.bench_local(move || (path.work)());
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--run") => {
            let mut path = paths().swap_remove(arguments[2].parse().unwrap());
            for _ in 0..arguments[3].parse::<u32>().unwrap() {
                assert_ne!(black_box((path.work)()), 0, "{}", path.name);
            }
        }
        Some("--instructions") => instructions(),
        _ => {
            for (i, path) in paths().iter().enumerate() {
                println!("{i}: {}", path.name);
            }
            divan::main();
        }
    }
}

/// Counts each path at so many runs and at three times as many; the difference is theirs.
fn instructions() {
    const RUNS: u64 = 500;
    let mut table = "| path | instructions |\n| --- | ---: |\n".to_owned();
    for (i, path) in paths().iter().enumerate() {
        let [few, many] = [RUNS, 3 * RUNS].map(|runs| count(i, runs));
        writeln!(table, "| {} | {} |", path.name, (many - few) / (2 * RUNS)).unwrap();
    }
    println!("{table}");
    document::replace("instructions", &table);
}

fn count(path: usize, runs: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callgrind.out");
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe().unwrap())
        .args(["--run", &path.to_string(), &runs.to_string()])
        .status()
        .expect("valgrind is installed: apt-get install valgrind");
    assert!(status.success(), "{path}");
    let counts = fs::read_to_string(file).unwrap();
    let total = counts
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .unwrap();
    total.trim().parse().unwrap()
}
