//! What holds for whatever chance gives: a store against a room in plain Rust,
//! the merge in any order, and catching up from anywhere.

use std::{collections::BTreeMap, time::Duration};

use persistence_service::{
    domain::{Position, RoomCode},
    repository::{RoomRepository, RoomSettings, Since},
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    prop_oneof,
    test_runner::TestCaseError,
};
use roomkeeper_tests::{
    From, Kept, Model, Operation, StoreKind, Stroke, always, change, drawing, join, message,
    new_room, position, rectangle, request, settings,
};
use tokio::runtime::Runtime;

const TTL: Duration = Duration::from_secs(86_400);

/// Rooms that keep few messages, so that some fall off.
const MESSAGES: usize = 5;

/// Checks a property of each kind of store.
macro_rules! of_each_store {
    ($($property:ident)*) => {
        mod on_redis {
            $(#[test] fn $property() { super::$property(super::StoreKind::Redis); })*
        }
        mod in_a_file {
            $(#[test] fn $property() { super::$property(super::StoreKind::Embedded); })*
        }
    };
}

of_each_store! {
    a_store_answers_as_a_room_in_plain_rust
    a_board_at_its_limits_answers_as_one_in_plain_rust
    merging_is_commutative_associative_and_idempotent
    catching_up_from_anywhere_ends_with_all_there_is
}

/// How many cases of so many a store is given: a file waits for the disk at each
/// change, which other tests need too.
fn cases(kind: StoreKind, of: u32) -> u32 {
    match kind {
        StoreKind::Redis => of,
        StoreKind::Embedded => of.div_ceil(4),
    }
}

/// Runs a property on a store that keeps few messages.
fn on(kind: StoreKind, property: impl FnOnce(&Runtime, &dyn RoomRepository)) {
    let runtime = Runtime::new().unwrap();
    let store = runtime.block_on(kind.with(RoomSettings {
        message_limit: MESSAGES,
        ..settings(TTL)
    }));
    property(&runtime, &*store.rooms);
    // The store's tasks end in the runtime.
    let _inside = runtime.enter();
    drop(store);
}

/// A room of a test case's own.
fn code(case: &std::cell::Cell<u32>) -> RoomCode {
    case.set(case.get() + 1);
    RoomCode::from_number(RoomCode::FIRST + case.get()).unwrap()
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        2 => Just(From::Arrival),
        6 => any::<u8>().prop_map(From::Seen),
        1 => Just(From::Ahead),
        1 => Just(From::Elsewhere),
    ]
}

fn stroke() -> impl Strategy<Value = Stroke> {
    (0..6_u8, 0..5_u8, 0..3_u8, any::<bool>(), 0..24_u8).prop_map(
        |(id, version, nonce, deleted, weight)| Stroke {
            id,
            version,
            nonce,
            // What an element looks like follows from its version.
            deleted: deleted && version % 2 == 1,
            heavy: weight == 0,
        },
    )
}

/// What people do; mostly of few, so that they get in each other's way.
fn operation() -> impl Strategy<Value = Operation> {
    let session = || option::weighted(0.8, 0..5_u8);
    prop_oneof![
        2 => (2..5_u32, any::<bool>()).prop_map(|(seats, again)| Operation::Create { seats, again }),
        1 => Just(Operation::Delete),
        8 => (0..4_u8, session(), 0..3_u8, from()).prop_map(|(user, session, name, since)| {
            Operation::Join { user, session, name, since }
        }),
        5 => (0..4_u8, session()).prop_map(|(user, session)| Operation::Leave { user, session }),
        2 => vec(0..6_u8, 1..4).prop_map(|sessions| Operation::Renew { sessions }),
        8 => (0..4_u8, session(), any::<u8>(), 0..3_u8).prop_map(|(user, session, request, text)| {
            Operation::Say { user, session, request: request % 48, text }
        }),
        8 => (0..4_u8, session(), any::<u8>(), vec(stroke(), 1..5)).prop_map(
            |(user, session, request, strokes)| Operation::Draw {
                user, session, request: request % 48, strokes,
            },
        ),
        1 => (0..4_u8, session()).prop_map(|(user, session)| Operation::Signal { user, session }),
        5 => from().prop_map(|since| Operation::CatchUp { since }),
        2 => (1..7_u8, option::of(any::<u8>())).prop_map(|(limit, before)| {
            Operation::Messages { limit, before }
        }),
    ]
}

/// Does all this to a room of the store, and to one in plain Rust.
async fn agrees(
    rooms: &dyn RoomRepository,
    code: RoomCode,
    operations: &[Operation],
) -> Result<(), TestCaseError> {
    let kept = Kept {
        messages: MESSAGES,
        ttl: u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX),
    };
    let mut model = Model::new(code, kept);
    let first = Operation::Create {
        seats: 3,
        again: false,
    };
    for (n, operation) in std::iter::once(&first).chain(operations).enumerate() {
        model
            .does(rooms, operation)
            .await
            .map_err(|why| TestCaseError::fail(format!("operation {n}, {operation:?}: {why}")))?;
    }
    Ok(())
}

fn a_store_answers_as_a_room_in_plain_rust(kind: StoreKind) {
    on(kind, |runtime, rooms| {
        let case = std::cell::Cell::new(0);
        always(cases(kind, 48), vec(operation(), 1..60), |operations| {
            runtime.block_on(agrees(rooms, code(&case), &operations))
        });
    });
}

fn a_board_at_its_limits_answers_as_one_in_plain_rust(kind: StoreKind) {
    on(kind, |runtime, rooms| {
        let case = std::cell::Cell::new(0);
        let heavy = || {
            stroke().prop_map(|stroke| Stroke {
                id: stroke.id + 8 * stroke.nonce,
                heavy: true,
                ..stroke
            })
        };
        let operation = prop_oneof![
            5 => (0..6_u8, 1..4_u8, any::<bool>()).prop_map(|(block, version, deleted)| {
                Operation::DrawMany { block, version, deleted: deleted && version != 2 }
            }),
            5 => vec(heavy(), 1..2).prop_map(|strokes| Operation::Draw {
                user: 0, session: None, request: 0, strokes,
            }),
            2 => from().prop_map(|since| Operation::CatchUp { since }),
        ];
        always(cases(kind, 4), vec(operation, 8..14), |mut operations| {
            for (n, operation) in operations.iter_mut().enumerate() {
                if let Operation::Draw { request, .. } = operation {
                    *request = u8::try_from(n).unwrap();
                }
            }
            runtime.block_on(agrees(rooms, code(&case), &operations))
        });
    });
}

/// A change of the board: its elements' id, version and nonce. What an element
/// looks like follows from them.
type Change = Vec<(u8, u8, u8)>;

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec(vec((0..5_u8, 0..4_u8, 0..4_u8), 1..5), 1..8)
}

fn elements(change: &Change) -> Vec<String> {
    let mut elements = BTreeMap::new();
    for (id, version, nonce) in change {
        let (version, nonce) = (u64::from(*version), u64::from(*nonce));
        let extra = match (version + nonce) % 3 {
            0 => r#","isDeleted":true"#.to_owned(),
            _ => format!(r#","x":{}"#, version * 10 + nonce),
        };
        let json = rectangle(&format!("e{id}"), version, nonce, &extra);
        elements.entry(*id).or_insert(json);
    }
    elements.into_values().collect()
}

/// The board as it stands, tombstones too.
async fn board(rooms: &dyn RoomRepository, code: RoomCode) -> BTreeMap<String, (u64, u64, String)> {
    let epoch = position(rooms, code).await.unwrap().epoch;
    let created = Position {
        epoch,
        revision: epoch,
    };
    let read = rooms.catch_up(code, Since::Position(created), 100).await;
    let read = read.unwrap().unwrap();
    assert!(!read.reset);
    let elements = read.elements.iter().map(|e| {
        let kept = (e.version, e.version_nonce, e.json.to_string());
        (e.id.to_string(), kept)
    });
    elements.collect()
}

async fn drawn(
    rooms: &dyn RoomRepository,
    code: RoomCode,
    changes: impl IntoIterator<Item = Vec<String>>,
) -> BTreeMap<String, (u64, u64, String)> {
    let creation = request("CreateRoom", "ann", "");
    let created = rooms.create_room(code, &new_room(10), &creation).await;
    created.unwrap().unwrap().unwrap();
    for elements in changes {
        let drawing = drawing(code, "ann", &elements);
        rooms.save_whiteboard(&drawing).await.unwrap().unwrap();
    }
    board(rooms, code).await
}

/// What a board comes to: of each element the greatest version, and of those the
/// lowest nonce.
fn merged(changes: &[Vec<String>]) -> BTreeMap<String, (u64, u64, String)> {
    let mut board: BTreeMap<String, (u64, u64, String)> = BTreeMap::new();
    for json in changes.iter().flatten() {
        let element = change(json);
        let new = (element.version, element.version_nonce, element.json);
        let kept = board.entry(element.id).or_insert_with(|| new.clone());
        if (new.0, std::cmp::Reverse(new.1)) > (kept.0, std::cmp::Reverse(kept.1)) {
            *kept = new;
        }
    }
    board
}

fn merging_is_commutative_associative_and_idempotent(kind: StoreKind) {
    on(kind, |runtime, rooms| {
        let case = std::cell::Cell::new(0);
        let values = changes().prop_flat_map(|changes| {
            let order: Vec<usize> = (0..changes.len()).collect();
            (Just(changes), Just(order).prop_shuffle())
        });
        always(cases(kind, 48), values, |(changes, order)| {
            let changes: Vec<_> = changes.iter().map(elements).collect();
            let wanted = merged(&changes);
            let shuffled: Vec<_> = order.iter().map(|n| changes[*n].clone()).collect();
            // Two by two, merged before they are sent.
            let pairs = changes.chunks(2).map(|pair| {
                let merged = merged(pair).into_values();
                merged.map(|(_, _, json)| json).collect()
            });
            let twice = changes.iter().flat_map(|c| [c.clone(), c.clone()]);
            let one_by_one = changes.iter().flatten().map(|json| vec![json.clone()]);
            let boards = runtime.block_on(async {
                [
                    ("in order", drawn(rooms, code(&case), changes.clone()).await),
                    ("shuffled", drawn(rooms, code(&case), shuffled).await),
                    ("in pairs", drawn(rooms, code(&case), pairs).await),
                    ("twice", drawn(rooms, code(&case), twice).await),
                    ("one by one", drawn(rooms, code(&case), one_by_one).await),
                ]
            });
            for (how, board) in boards {
                if board != wanted {
                    let why = format!("{how}: {board:?} is not {wanted:?}");
                    return Err(TestCaseError::fail(why));
                }
            }
            Ok(())
        });
    });
}

/// What happens while readers read.
#[derive(Clone, Debug)]
enum Step {
    Say,
    Draw(Change),
    Come(u8),
    Go(u8),
    /// One of the readers catches up.
    Read(usize),
}

const READERS: usize = 4;

/// What a reader knows.
#[derive(Clone, Debug, Default)]
struct Reader {
    position: Option<Position>,
    messages: Vec<String>,
    elements: BTreeMap<String, (u64, u64, String)>,
    people: Vec<String>,
    truncated: bool,
}

impl Reader {
    async fn read(&mut self, rooms: &dyn RoomRepository, code: RoomCode) {
        let since = self.position.map_or(Since::Arrival, Since::Position);
        let read = rooms.catch_up(code, since, MESSAGES).await;
        let read = read.unwrap().unwrap();
        if read.reset {
            *self = Self::default();
        }
        self.truncated |= read.history_truncated;
        if read.history_truncated {
            self.messages.clear();
        }
        self.messages
            .extend(read.messages.iter().map(|message| message.text.clone()));
        for e in &read.elements {
            let kept = (e.version, e.version_nonce, e.json.to_string());
            self.elements.insert(e.id.to_string(), kept);
        }
        self.people = read
            .participants
            .iter()
            .map(|p| p.user_id.as_str().to_owned())
            .collect();
        self.position = Some(read.room.position);
    }

    fn living(&self) -> Vec<(&String, &String)> {
        let elements = self.elements.iter();
        elements
            .filter(|(_, (_, _, json))| !json.contains(r#""isDeleted":true"#))
            .map(|(id, (_, _, json))| (id, json))
            .collect()
    }
}

fn catching_up_from_anywhere_ends_with_all_there_is(kind: StoreKind) {
    on(kind, |runtime, rooms| {
        let case = std::cell::Cell::new(0);
        let step = prop_oneof![
            5 => Just(Step::Say),
            5 => vec((0..5_u8, 0..6_u8, 0..3_u8), 1..4).prop_map(Step::Draw),
            2 => (0..5_u8).prop_map(Step::Come),
            2 => (0..5_u8).prop_map(Step::Go),
            6 => (0..READERS).prop_map(Step::Read),
        ];
        always(cases(kind, 48), vec(step, 1..50), |steps| {
            let code = code(&case);
            runtime.block_on(async {
                drawn(rooms, code, []).await;
                let mut readers = vec![Reader::default(); READERS];
                for reader in &mut readers[1..] {
                    reader.read(rooms, code).await;
                }
                let mut said = Vec::new();
                for step in &steps {
                    match step {
                        Step::Say => {
                            let text = format!("message {}", said.len());
                            let new = message(code, "ann", &text);
                            rooms.save_message(&new).await.unwrap().unwrap();
                            said.push(text);
                        }
                        Step::Draw(change) => {
                            let drawing = drawing(code, "ann", &elements(change));
                            rooms.save_whiteboard(&drawing).await.unwrap().unwrap();
                        }
                        Step::Come(user) => {
                            let join = join(code, &format!("u{user}"), &format!("s{user}"));
                            rooms.join(&join).await.unwrap().unwrap();
                        }
                        Step::Go(user) => {
                            let gone = join(code, &format!("u{user}"), &format!("s{user}"));
                            let leave = rooms.leave(code, &gone.participant.user_id, &gone.session);
                            leave.await.unwrap().unwrap();
                        }
                        Step::Read(reader) => readers[*reader].read(rooms, code).await,
                    }
                }
                let mut fresh = Reader::default();
                fresh.read(rooms, code).await;
                for (n, reader) in readers.iter_mut().enumerate() {
                    reader.read(rooms, code).await;
                    let agrees = reader.people == fresh.people
                    && reader.living() == fresh.living()
                    && reader.position == fresh.position
                    && reader.messages.ends_with(&fresh.messages)
                    && said.ends_with(&reader.messages)
                    // Whoever was there from the beginning and lost nothing has all.
                    && (n == 0 || reader.truncated || reader.messages == said);
                    if !agrees {
                        let why = format!("reader {n}: {reader:?} is not {fresh:?}");
                        return Err(TestCaseError::fail(why));
                    }
                }
                Ok(())
            })
        });
    });
}
