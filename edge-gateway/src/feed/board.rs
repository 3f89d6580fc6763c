//! A room's merged board, kept while somebody here wants to see it whole.

use std::collections::{BTreeMap, HashMap};

use roomkeeper_proto::v1::Element;
use serde::Deserialize;

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
    ordinal: u64,
    place: Option<Place>,
}

/// The living elements in their order, and of the others what the order needs.
///
/// What is applied has already won at the service; nothing is merged by version here. An
/// element only ever moves to a later revision, so applying a change twice, or one that the
/// board was read with, changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: HashMap<String, Entry>,
    living: BTreeMap<Place, String>,
    next_ordinal: u64,
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
            let entry = self.entries.entry(element.id.clone()).or_insert_with(|| {
                self.next_ordinal += 1;
                Entry {
                    revision: 0,
                    ordinal: self.next_ordinal,
                    place: None,
                }
            });
            if element.revision != 0 && element.revision <= entry.revision {
                continue;
            }
            entry.revision = element.revision;
            if let Some(place) = entry.place.take() {
                self.living.remove(&place);
            }
            if !element.is_deleted {
                let place = match index_of(&element.json) {
                    Some(index) => Place::Indexed(index, element.id.clone()),
                    None => Place::Unindexed(entry.ordinal),
                };
                entry.place = Some(place.clone());
                self.living.insert(place, element.json.clone());
            }
        }
    }

    /// The living elements' JSON, in order.
    pub(crate) fn living(&self) -> impl Iterator<Item = &str> + Clone {
        self.living.values().map(String::as_str)
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
}
