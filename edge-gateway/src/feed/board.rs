//! A room's merged board, kept while somebody here wants to see it whole.

use std::collections::{BTreeMap, HashMap, VecDeque};

use roomkeeper_proto::v1::Element;
use serde::Deserialize;

use crate::contract::ElementVersion;

/// How many replaced states of elements are kept: a minute of one user who draws without a
/// pause. A state that is forgotten too early only delays one board: the echo of an old
/// scene then counts as drawing.
const MAX_REPLACED: usize = 4_096;

/// An element's place in the order of the board.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// By Excalidraw's fractional index, by its bytes, then by id.
    Indexed(String, String),
    /// Without an index: in the order of first coming.
    Unindexed(u64),
}

#[derive(Debug)]
struct Entry {
    revision: u64,
    version: u64,
    nonce: u64,
    ordinal: u64,
    place: Option<Place>,
    replaced: VecDeque<Replaced>,
}

/// A state that an element had, and that a full client may hold.
#[derive(Debug)]
struct Replaced {
    version: u64,
    nonce: u64,
    /// The board held it from this revision,
    from: u64,
    /// and no longer at this one.
    until: u64,
}

/// The living elements in their order, and of the others what the order and a comparison
/// need.
///
/// What is applied has already won at the service; nothing is merged by version here. An
/// element only ever moves to a later revision, so applying a change twice, or one that the
/// board was read with, changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: HashMap<String, Entry>,
    living: BTreeMap<Place, String>,
    next_ordinal: u64,
    /// The bytes of the living elements' JSON.
    bytes: usize,
    /// The newest revision at which this board was sent to somebody.
    sent_at: u64,
    /// Whose replaced states are kept, the oldest first.
    replaced: VecDeque<String>,
}

impl Board {
    /// A board that holds `elements`, which come in its order.
    pub(crate) fn new<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Self {
        let mut board = Self::default();
        board.apply(elements);
        board
    }

    /// Applies a change that the service accepted.
    pub(crate) fn apply<'a>(&mut self, elements: impl IntoIterator<Item = &'a Element>) {
        for element in elements {
            self.apply_one(element);
        }
        while self.replaced.len() > MAX_REPLACED {
            let oldest = self.replaced.pop_front();
            if let Some(entry) = oldest.and_then(|id| self.entries.get_mut(&id)) {
                entry.replaced.pop_front();
            }
        }
    }

    fn apply_one(&mut self, element: &Element) {
        let entry = self.entries.entry(element.id.clone()).or_insert_with(|| {
            self.next_ordinal += 1;
            Entry {
                revision: 0,
                version: element.version,
                nonce: element.version_nonce,
                ordinal: self.next_ordinal,
                place: None,
                replaced: VecDeque::new(),
            }
        });
        if element.revision != 0 && element.revision <= entry.revision {
            return;
        }
        if let Some(place) = entry.place.take() {
            let json = self.living.remove(&place);
            self.bytes -= json.map_or(0, |json| json.len());
            if entry.revision <= self.sent_at {
                entry.replaced.push_back(Replaced {
                    version: entry.version,
                    nonce: entry.nonce,
                    from: entry.revision,
                    until: element.revision,
                });
                self.replaced.push_back(element.id.clone());
            }
        }
        entry.revision = element.revision;
        entry.version = element.version;
        entry.nonce = element.version_nonce;
        if !element.is_deleted {
            let place = match index_of(&element.json) {
                Some(index) => Place::Indexed(index, element.id.clone()),
                None => Place::Unindexed(entry.ordinal),
            };
            entry.place = Some(place.clone());
            self.bytes += element.json.len();
            self.living.insert(place, element.json.clone());
        }
    }

    /// The service says that it stores these. Those that this board does not know are
    /// tombstones that are older than it.
    pub(crate) fn learn(&mut self, stored: Vec<ElementVersion>) {
        for ElementVersion { id, version, nonce } in stored {
            self.entries.entry(id).or_insert_with(|| {
                self.next_ordinal += 1;
                Entry {
                    revision: 0,
                    version,
                    nonce,
                    ordinal: self.next_ordinal,
                    place: None,
                    replaced: VecDeque::new(),
                }
            });
        }
    }

    /// Whether this state of an element is the one that is stored.
    pub(crate) fn stores(&self, stamp: &ElementVersion) -> bool {
        self.entries
            .get(&stamp.id)
            .is_some_and(|entry| entry.version == stamp.version && entry.nonce == stamp.nonce)
    }

    /// Whether a board of one of these revisions, in ascending order, held this state of an
    /// element, which has been replaced since.
    pub(crate) fn held(&self, stamp: &ElementVersion, revisions: &VecDeque<u64>) -> bool {
        let Some(entry) = self.entries.get(&stamp.id) else {
            return false;
        };
        entry
            .replaced
            .iter()
            .filter(|state| state.version == stamp.version && state.nonce == stamp.nonce)
            .any(|state| {
                let first = revisions.partition_point(|revision| *revision < state.from);
                revisions
                    .get(first)
                    .is_some_and(|revision| *revision < state.until)
            })
    }

    /// Remembers that the board of this revision was sent to somebody.
    pub(crate) fn was_sent(&mut self, revision: u64) {
        self.sent_at = self.sent_at.max(revision);
    }

    /// The living elements' JSON, in order.
    pub(crate) fn living(&self) -> impl Iterator<Item = &str> + Clone {
        self.living.values().map(String::as_str)
    }

    /// Whether no element lives.
    pub(crate) fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// How many bytes its living elements take on the wire.
    pub(crate) fn bytes(&self) -> usize {
        // A comma or a bracket for each.
        self.bytes + self.living.len() + 1
    }
}

/// The element's `index`, if it is a string.
fn index_of(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Index {
        index: serde_json::Value,
    }
    match serde_json::from_str(json) {
        Ok(Index {
            index: serde_json::Value::String(index),
        }) => Some(index),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(id: &str, revision: u64, is_deleted: bool, index: Option<&str>) -> Element {
        let index = index
            .map(|index| format!(",\"index\":\"{index}\""))
            .unwrap_or_default();
        Element {
            id: id.to_owned(),
            revision,
            is_deleted,
            json: format!("{{\"id\":\"{id}\",\"r\":{revision}{index}}}"),
            ..Element::default()
        }
    }

    fn ids(board: &Board) -> Vec<&str> {
        board.living().map(|json| &json[7..8]).collect()
    }

    #[test]
    fn indexed_elements_come_first_and_the_others_in_order_of_coming() {
        let board = Board::new(&[
            element("z", 1, false, None),
            element("b", 1, false, Some("a1")),
            element("y", 1, false, None),
            element("c", 1, false, Some("Zz")),
            element("a", 1, false, Some("a1")),
        ]);
        assert_eq!(ids(&board), ["c", "a", "b", "z", "y"]);
    }

    #[test]
    fn a_deleted_element_is_gone_and_comes_back_to_its_place() {
        let mut board = Board::new(&[element("a", 1, false, None), element("b", 1, false, None)]);
        board.apply(&[element("a", 2, true, None)]);
        assert_eq!(ids(&board), ["b"]);
        board.apply(&[element("a", 3, false, None)]);
        assert_eq!(ids(&board), ["a", "b"]);
    }

    #[test]
    fn an_older_state_of_an_element_changes_nothing() {
        let mut board = Board::new(&[element("a", 5, true, None)]);
        board.apply(&[element("a", 4, false, None)]);
        assert_eq!(ids(&board), Vec::<&str>::new());
    }

    fn stamp(id: &str, version: u64) -> ElementVersion {
        ElementVersion {
            id: id.to_owned(),
            version,
            nonce: 0,
        }
    }

    fn versioned(id: &str, revision: u64, is_deleted: bool) -> Element {
        Element {
            version: revision,
            ..element(id, revision, is_deleted, None)
        }
    }

    #[test]
    fn the_stored_state_of_an_element_is_known_a_tombstone_too() {
        let mut board = Board::new(&[versioned("a", 1, false)]);
        assert!(board.stores(&stamp("a", 1)));
        assert!(!board.stores(&stamp("a", 2)));
        assert!(!board.stores(&stamp("b", 1)));
        board.apply(&[versioned("a", 2, true)]);
        assert!(board.stores(&stamp("a", 2)));
        board.learn(vec![stamp("a", 1), stamp("gone", 7)]);
        assert!(board.stores(&stamp("a", 2)), "what is known stays");
        assert!(board.stores(&stamp("gone", 7)));
        assert!(board.is_empty());
    }

    #[test]
    fn a_replaced_state_is_known_to_whom_it_was_sent() {
        let mut board = Board::new(&[versioned("a", 1, false)]);
        board.was_sent(5);
        for revision in [10, 20] {
            board.apply(&[versioned("a", revision, false)]);
        }
        let sent = |revisions: &[u64]| revisions.iter().copied().collect();
        assert!(board.held(&stamp("a", 1), &sent(&[5])));
        assert!(board.held(&stamp("a", 1), &sent(&[9, 30])));
        assert!(!board.held(&stamp("a", 1), &sent(&[10, 30])));
        assert!(!board.held(&stamp("a", 1), &sent(&[])));
        assert!(
            !board.held(&stamp("a", 10), &sent(&[10])),
            "no board was sent while the element had this state"
        );
    }

    #[test]
    fn only_so_many_replaced_states_are_kept() {
        let mut board = Board::new(&[versioned("a", 1, false)]);
        for revision in 2..=MAX_REPLACED as u64 + 100 {
            board.was_sent(revision);
            board.apply(&[versioned("a", revision, false)]);
        }
        assert_eq!(board.replaced.len(), MAX_REPLACED);
        assert_eq!(board.entries["a"].replaced.len(), MAX_REPLACED);
    }

    #[test]
    fn the_bytes_are_those_of_the_living_elements() {
        let mut board = Board::new(&[versioned("a", 1, false), versioned("b", 1, false)]);
        let wire = |board: &Board| format!("[{}]", board.living().collect::<Vec<_>>().join(","));
        assert_eq!(board.bytes(), wire(&board).len());
        board.apply(&[versioned("b", 100, false), versioned("a", 100, true)]);
        assert_eq!(board.bytes(), wire(&board).len());
    }
}
