//! The request id under which a room is created.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::Status;
use tonic_types::StatusExt as _;

use super::status::{Failure, classify};
use crate::error::Error;

/// What the service names an id by that would be served.
const USABLE_REQUEST_ID: &str = "usable_request_id";

/// The id of a creation. It may be changed as long as nothing can have been stored under it.
#[derive(Debug)]
pub(super) struct CreationId(
    // A std mutex: nothing awaits while it is held.
    Mutex<State>,
);

#[derive(Debug)]
struct State {
    id: String,
    /// How many tries under this id have no answer that says that nothing was stored.
    in_doubt: u32,
}

impl CreationId {
    pub(super) fn new(id: String) -> Self {
        Self(Mutex::new(State { id, in_doubt: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a try, and returns the id for it.
    pub(super) fn begin(&self) -> String {
        let mut state = self.state();
        state.in_doubt += 1;
        state.id.clone()
    }

    /// Takes the answer to a try that did not create the room.
    pub(super) fn refused(&self, status: &Status) {
        let mut state = self.state();
        match classify(status) {
            Failure::Refused(Error::StoreUnavailable) | Failure::NotSent(_) => state.in_doubt -= 1,
            Failure::Refused(_) | Failure::Lost(_) | Failure::Broken(_) => return,
        }
        if state.in_doubt == 0
            && let Some(info) = status.get_details_error_info()
            && let Some(id) = info.metadata.get(USABLE_REQUEST_ID)
        {
            state.id.clone_from(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(reason: &str, usable: Option<&str>) -> Status {
        let metadata: HashMap<_, _> = usable
            .map(|id| (USABLE_REQUEST_ID.to_owned(), id.to_owned()))
            .into_iter()
            .collect();
        let details = ErrorDetails::with_error_info(reason, "roomkeeper", metadata);
        Status::with_error_details(Code::Unavailable, "", details)
    }

    #[test]
    fn an_id_whose_place_is_away_gives_way_to_the_one_that_the_service_names() {
        let id = CreationId::new("first".to_owned());
        assert_eq!(id.begin(), "first");
        id.refused(&refusal("STORE_UNAVAILABLE", None));
        assert_eq!(id.begin(), "first");
        id.refused(&refusal("STORE_UNAVAILABLE", Some("second")));
        assert_eq!(id.begin(), "second");
    }

    #[test]
    fn an_id_under_which_a_room_may_have_been_created_stays() {
        let lost = CreationId::new("first".to_owned());
        lost.begin();
        assert_eq!(lost.begin(), "first", "the first try had no answer");
        lost.refused(&refusal("STORE_UNAVAILABLE", Some("second")));
        assert_eq!(lost.begin(), "first");

        let unknown = CreationId::new("first".to_owned());
        unknown.begin();
        unknown.refused(&refusal("OUTCOME_UNKNOWN", Some("second")));
        unknown.begin();
        unknown.refused(&refusal("STORE_UNAVAILABLE", Some("second")));
        assert_eq!(unknown.begin(), "first");
    }
}
