/// A point in a room's life.
///
/// Everything a room stores carries the revision at which it was last changed,
/// so what changed after a position is a query and needs no log of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The revision of the room's creation. A code that is used again names a
    /// room with another epoch.
    pub epoch: u64,
    /// Microseconds of the store's clock, or the previous revision plus one
    /// where the clock has not moved past it. Below 2^53.
    pub revision: u64,
}

impl Position {
    /// Before everything: no room has this epoch, so what follows it is all
    /// that a room holds.
    pub const ZERO: Self = Self {
        epoch: 0,
        revision: 0,
    };
}
