//! The elements that changes left out, so that each is logged once.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::domain::{Invalid, RoomCode};

/// How many elements are remembered. Beyond that all are forgotten, and logged again.
const MOST: usize = 1_000;

/// The elements that were logged. A client that sends its whole scene sends a bad element
/// with each change, which would else fill the log.
#[derive(Debug, Default)]
pub(super) struct LeftOut(
    // A std mutex: nothing is awaited while it is held.
    Mutex<HashSet<(RoomCode, String)>>,
);

impl LeftOut {
    /// Logs in one line what a change left out, unless all of it was logged before.
    pub(super) fn log(&self, code: RoomCode, elements: &[(String, Invalid)]) {
        if elements.is_empty() {
            return;
        }
        if let Some((id, invalid)) = self.first_unknown(code, elements) {
            tracing::warn!(
                room.code = %code,
                element.id = id,
                problem = %invalid,
                count = elements.len(),
                "elements of a change are left out: a field has a value that it cannot have"
            );
        }
    }

    /// Remembers all of these elements; the first that was not known, if there is one.
    fn first_unknown<'a>(
        &self,
        code: RoomCode,
        elements: &'a [(String, Invalid)],
    ) -> Option<&'a (String, Invalid)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = None;
        for element in elements {
            if known.len() >= MOST {
                known.clear();
            }
            if known.insert((code, element.0.clone())) {
                first = first.or(Some(element));
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_logged_once_for_each_room() {
        let left_out = LeftOut::default();
        let room = |number| RoomCode::from_number(number).unwrap();
        let element = |id: &str| (id.to_owned(), Invalid::new("elements[0].x", "must be it"));
        let (a, b) = (element("a"), element("b"));
        let (only_a, both) = ([a.clone()], [a.clone(), b.clone()]);
        let first = |code, elements: &[_]| left_out.first_unknown(code, elements).cloned();
        assert_eq!(first(room(1_000), &only_a), Some(a.clone()));
        assert_eq!(first(room(1_000), &both), Some(b));
        assert_eq!(first(room(1_000), &both), None);
        assert_eq!(first(room(2_000), &only_a), Some(a));
    }

    #[test]
    fn only_so_many_elements_are_remembered() {
        let left_out = LeftOut::default();
        let code = RoomCode::from_number(1_000).unwrap();
        let elements: Vec<_> = (0..3 * MOST)
            .map(|i| (i.to_string(), Invalid::new("elements[0].x", "must be it")))
            .collect();
        left_out.first_unknown(code, &elements);
        assert!(left_out.0.lock().unwrap().len() <= MOST);
    }
}
