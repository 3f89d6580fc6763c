//! How often whole boards may be sent to one socket, whichever rooms they are of.
//!
//! The rooms of a socket run side by side, and each decides by itself when a board is due.
//! They share this pace. A room that may not send yet waits in a line, so that a room whose
//! board changes all the time does not keep the others from sending theirs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Duration, Instant};

/// How many bytes of boards a socket is sent in a second. A board that is larger takes as
/// many seconds as its bytes need.
const BYTES_A_SECOND: usize = 4 << 20;

/// How many boards a socket is sent within [`BURST`]: 60 a second, since a screen shows no
/// more. Some may follow each other closely, so that a change is seldom held.
const BOARDS_A_BURST: usize = 3;

/// See [`BOARDS_A_BURST`].
const BURST: Duration = Duration::from_millis(50);

/// The time that one board of a burst takes on average.
const SHARE: Duration = Duration::from_micros(16_667);

/// How long the first room in the line may leave its turn unused, and how long a room
/// behind it waits at most before it asks again.
const TURN: Duration = Duration::from_millis(100);

const SECOND: Duration = Duration::from_secs(1);

/// The pace of the boards to one socket, which all its rooms share.
#[derive(Debug, Clone, Default)]
pub(crate) struct BoardPace(Arc<Mutex<Line>>);

impl BoardPace {
    /// A room of the socket begins to send boards.
    pub(super) fn enter(&self) -> Place {
        let mut line = self.line();
        line.entered += 1;
        Place {
            pace: self.clone(),
            id: line.entered,
            ask_at: None,
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One room's share of a socket's pace.
#[derive(Debug)]
pub(super) struct Place {
    pace: BoardPace,
    id: u64,
    /// When to ask again; the room is in the line until then.
    ask_at: Option<Instant>,
}

impl Place {
    /// Counts a board of so many bytes that is sent now.
    ///
    /// # Errors
    ///
    /// When the room is to ask again, which is later than `now`.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) -> Result<(), Instant> {
        if let Some(ask_at) = self.ask_at.filter(|ask_at| *ask_at > now) {
            return Err(ask_at);
        }
        let taken = self.pace.line().take(self.id, now, bytes);
        self.ask_at = taken.err();
        taken
    }

    /// Leaves the line: the room has no board to send at this moment.
    pub(super) fn step_back(&mut self) {
        if self.ask_at.take().is_some() {
            self.pace.line().remove(self.id);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.step_back();
    }
}

/// What was sent to a socket, and which rooms wait to send.
#[derive(Debug, Default)]
struct Line {
    entered: u64,
    /// When boards were sent within the last second, and how large each was; always the
    /// last board. At most 60 and that one.
    sent: VecDeque<(Instant, usize)>,
    /// The rooms that wait, in the order in which they came; each room once.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    bytes: usize,
    ask_at: Instant,
}

impl Line {
    fn take(&mut self, id: u64, now: Instant, bytes: usize) -> Result<(), Instant> {
        self.waiting
            .retain(|other| other.id == id || now < other.ask_at + TURN);
        let index = self.waiting.iter().position(|waiting| waiting.id == id);
        let place = index.unwrap_or(self.waiting.len());
        let ask_at = if place == 0 {
            let opens = self.opens(now, bytes);
            if opens <= now {
                self.remove(id);
                self.add(now, bytes);
                return Ok(());
            }
            opens
        } else {
            let ahead = self.waiting.iter().take(place);
            let sending: Duration = ahead.map(|other| interval(other.bytes).max(SHARE)).sum();
            (self.opens(now, bytes) + sending).min(now + TURN)
        };
        let waiting = Waiting { id, bytes, ask_at };
        match index.and_then(|index| self.waiting.get_mut(index)) {
            Some(before) => *before = waiting,
            None => self.waiting.push_back(waiting),
        }
        Err(ask_at)
    }

    fn remove(&mut self, id: u64) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    fn add(&mut self, now: Instant, bytes: usize) {
        self.sent.push_back((now, bytes));
        while self.sent.len() > 1 && self.sent.front().is_some_and(|(at, _)| *at + SECOND <= now) {
            self.sent.pop_front();
        }
    }

    /// From when on a board of so many bytes may be sent.
    fn opens(&self, now: Instant, bytes: usize) -> Instant {
        let mut opens = now;
        if let Some((last, before)) = self.sent.back() {
            opens = opens.max(*last + interval(*before));
        }
        if let Some((first, _)) = self.sent.iter().nth_back(BOARDS_A_BURST - 1) {
            opens = opens.max(*first + BURST);
        }
        // The newest board that does not fit into one second with this one.
        let mut fits = BYTES_A_SECOND.saturating_sub(bytes);
        for (at, sent) in self.sent.iter().rev() {
            match fits.checked_sub(*sent) {
                Some(rest) => fits = rest,
                None => return opens.max(*at + SECOND),
            }
        }
        opens
    }
}

/// How long a board of so many bytes takes at the pace.
fn interval(bytes: usize) -> Duration {
    let fit = BYTES_A_SECOND / bytes.max(1);
    match u32::try_from(fit) {
        Ok(0) | Err(_) => SECOND.mul_f64(bytes as f64 / BYTES_A_SECOND as f64),
        Ok(fit) => SECOND / fit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Rooms of one socket that always have a board to send, of these sizes in turn. Each
    /// asks exactly when it is told to. Returns `(when, room, bytes)` of each board that is
    /// sent within so many seconds, and how often the rooms asked.
    fn boards(rooms: &[&[usize]], seconds: u64) -> (Vec<(Instant, usize, usize)>, usize) {
        let pace = BoardPace::default();
        let began = Instant::now();
        let mut places: Vec<_> = rooms.iter().map(|_| (began, pace.enter(), 0)).collect();
        let mut sent = Vec::new();
        let mut asked = 0;
        loop {
            // The room that is listed last goes first, so that no order is given by chance.
            let (index, (at, place, count)) = places
                .iter_mut()
                .enumerate()
                .rev()
                .min_by_key(|(_, (at, ..))| *at)
                .unwrap();
            let now = *at;
            if now >= began + SECOND * u32::try_from(seconds).unwrap() {
                return (sent, asked);
            }
            asked += 1;
            let bytes = rooms[index][*count % rooms[index].len()];
            match place.take(now, bytes) {
                Ok(()) => {
                    sent.push((now, index, bytes));
                    *count += 1;
                    *at = now + Duration::from_millis(1);
                }
                Err(later) => {
                    assert!(later > now, "a room that asks in time is told a later time");
                    *at = later;
                }
            }
        }
    }

    /// The most that `what` adds up to within a second.
    fn most(
        sent: &[(Instant, usize, usize)],
        what: impl Fn(&(Instant, usize, usize)) -> usize,
    ) -> usize {
        let from = |first: usize| {
            let end = sent[first].0 + SECOND;
            sent[first..]
                .iter()
                .take_while(|(at, ..)| *at < end)
                .map(&what)
                .sum()
        };
        (0..sent.len()).map(from).max().unwrap_or(0)
    }

    fn count(sent: &[(Instant, usize, usize)], room: usize) -> usize {
        sent.iter().filter(|(_, of, _)| *of == room).count()
    }

    #[test]
    fn no_second_holds_more_than_4_mib_or_60_boards_whatever_the_sizes() {
        let large = [2 * MIB, MIB * 4 / 3, MIB * 4 / 3];
        let mixed = [300_000, 10, 4 * MIB, 1_000, 3 * MIB, 70_000, 2 * MIB, 500];
        let cases: [&[&[usize]]; 6] = [
            &[&[10]],
            &[&[10], &[10], &[10], &[10]],
            &[&[300_000], &[300_000], &[300_000], &[300_000]],
            &[&large],
            &[&mixed, &mixed[2..], &[10]],
            &[&[70_000], &[1_000], &[3 * MIB]],
        ];
        for rooms in cases {
            let (sent, asked) = boards(rooms, 20);
            assert!(most(&sent, |_| 1) <= 60, "{rooms:?}");
            assert!(most(&sent, |(.., bytes)| *bytes) <= 4 * MIB, "{rooms:?}");
            let counts: Vec<_> = (0..rooms.len()).map(|room| count(&sent, room)).collect();
            let least = counts.iter().min().unwrap();
            let greatest = counts.iter().max().unwrap();
            assert!(greatest - least <= 1, "{counts:?} of {rooms:?}");
            // Each board may be asked for a few times, and each room asks 10 times a second.
            let enough = 4 * sent.len() + 20 * 12 * rooms.len();
            assert!(asked <= enough, "{asked} for {} of {rooms:?}", sent.len());
        }
    }

    #[test]
    fn the_pace_is_used_whole() {
        let (sent, _) = boards(&[&[10], &[10], &[10]], 10);
        assert!(sent.len() >= 590, "{}", sent.len());
        let (sent, _) = boards(&[&[MIB], &[MIB], &[MIB]], 10);
        assert!(sent.len() >= 39, "{}", sent.len());
    }

    #[test]
    fn a_board_larger_than_4_mib_is_sent_alone_and_takes_as_long_as_its_bytes() {
        let (sent, _) = boards(&[&[8 * MIB]], 20);
        assert_eq!(sent.len(), 10);
        let (sent, _) = boards(&[&[8 * MIB], &[10]], 21);
        assert!((6..=7).contains(&count(&sent, 0)), "{sent:?}");
        assert!(count(&sent, 1) >= 6, "{sent:?}");
    }

    #[test]
    fn a_room_that_no_longer_waits_does_not_keep_the_others_waiting() {
        let pace = BoardPace::default();
        let now = Instant::now();
        let (mut one, mut two, mut three) = (pace.enter(), pace.enter(), pace.enter());
        assert_eq!(one.take(now, MIB), Ok(()));
        let opens = now + SECOND / 4;
        assert_eq!(two.take(now, MIB), Err(opens));
        assert_eq!(three.take(now, MIB), Err(now + TURN), "behind the other");
        two.step_back();
        assert_eq!(three.take(now + TURN, MIB), Err(opens), "first by now");
        assert_eq!(three.take(opens, MIB), Ok(()));

        // The same if the socket leaves the room that is first.
        assert_eq!(two.take(opens, MIB), Err(opens + SECOND / 4));
        assert_eq!(three.take(opens, MIB), Err(opens + TURN));
        drop(two);
        let opens = opens + SECOND / 4;
        assert_eq!(three.take(opens, MIB), Ok(()));
    }

    #[test]
    fn a_room_that_does_not_use_its_turn_loses_it_after_100_ms() {
        let pace = BoardPace::default();
        let now = Instant::now();
        let (mut one, mut two, mut three) = (pace.enter(), pace.enter(), pace.enter());
        assert_eq!(one.take(now, MIB), Ok(()));
        let opens = now + SECOND / 4;
        assert_eq!(two.take(now, MIB), Err(opens));
        let mut at = now;
        while let Err(later) = three.take(at, MIB) {
            assert!(later > at);
            at = later;
        }
        assert!(at > opens && at <= opens + 2 * TURN, "{:?}", at - opens);
        // It has not lost its board.
        assert_eq!(two.take(at, MIB), Err(at + SECOND / 4));
        assert_eq!(two.take(at + SECOND / 4, MIB), Ok(()));
    }
}
