//! What a restart knows of the timers: which of them are over, and which files have the others.
//!
//! A mark says that all timers are over that were due by its time and stand before its log position. While the clock goes forward one
//! mark is enough. When it was set back, timers are sent and delivered whose time is before that mark, but whose position is behind it:
//! they get a second, lower mark.
//!
//! ```text
//! position ->
//!            | over    | over by the lower mark |
//! set back   |---------|------------------------|
//!            | over    |   waits                |  waits
//! delivered  |---------|
//!   | time   |   waits
//!   v
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;

use serde::{Deserialize, Deserializer, Serialize};

use super::figures::WaitingRows;
use super::waiting::{Waiting, WaitingTable};
use crate::broker::known::KnownPosition;
use crate::store::{Timer, TimerKey, TimerKind};
use crate::wire::DataVersion;
use crate::wire::loose_json::{self, BodyError};

/// The time of a recall is at most this much before that of its message: RocketMQ's precision.
pub const RECALL_SPAN_MS: u64 = 1_000;

/// So many steps back are remembered at a time. What was delivered before an older one may be delivered again after a restart.
const MOST_STEPS: usize = 8;

/// So many former roll windows are remembered. Messages of an earlier one count as those of the first of them.
const MOST_WINDOWS: usize = 16;

/// The state of the timers that is saved, in `config/timers.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoint {
    /// All messages before this offset of the timer topic's queue are in the runs, or over.
    pub covered_offset: u64,
    /// The log position of that offset.
    pub covered_position: u64,
    /// Messages that were due by then and are before `deliveredOffset` are over.
    pub delivered_ms: u64,
    pub delivered_offset: u64,
    /// The log position of `deliveredOffset`.
    pub delivered_position: u64,
    /// Of deliveries that are over by these marks.
    pub known_position: KnownPosition,
    /// The lower marks, the earliest last.
    pub set_back: Vec<Mark>,
    /// The earliest time of a timer that waits, or did, although `deliveredMs` is behind it.
    pub late_ms: Option<u64>,
    /// The roll window by which the timers that are not covered were scheduled.
    pub roll_window_ms: u64,
    /// Those by which covered timers were, the earliest first: they count again when these are read again.
    pub former_windows: Vec<FormerWindow>,
    pub runs: Vec<RunName>,
    /// For each topic: its messages before `countedOffset` that are not delivered. Shared with what is made of it in many turns.
    #[serde(skip_serializing, deserialize_with = "in_parts")]
    pub waiting: WaitingTable,
    pub counted_offset: u64,
    pub version: DataVersion,
}

/// Timers that were due by this time and stand before this log position are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mark {
    pub by_ms: u64,
    pub before_position: u64,
}

/// Messages before this offset of the timer topic's queue were scheduled by this roll window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FormerWindow {
    pub before_offset: u64,
    pub roll_window_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunName {
    pub name: String,
    pub entries: u64,
}

impl Checkpoint {
    pub fn decode(text: &str) -> Result<Self, BodyError> {
        let mut checkpoint: Self = loose_json::from_slice(text.as_bytes())?;
        // Written by a version without positions: all timers of the runs stood before its mark.
        if checkpoint.delivered_position == 0 {
            checkpoint.delivered_position = checkpoint.covered_position;
        }
        Ok(checkpoint)
    }

    /// All of its text, in one turn.
    pub fn encode(&self) -> String {
        let mut text = self.begin_text();
        while text.write_some() {}
        text.into_string()
    }

    /// Begins its text as of now.
    pub fn begin_text(&self) -> CheckpointText {
        let mut out = loose_json::to_vec(self);
        let end = out.pop();
        assert_eq!(end, Some(b'}'), "an object of ours that is none");
        out.extend_from_slice(br#","waiting":{"#);
        CheckpointText {
            out,
            rows: WaitingRows::of(self.waiting.clone()),
        }
    }

    /// RocketMQ has delivered all messages that were due by then and are before this offset. Used if it is further than our own mark.
    pub fn delivered_elsewhere(&mut self, by_ms: u64, before_offset: u64) {
        if by_ms > self.delivered_ms {
            self.delivered(by_ms, before_offset, self.covered_position);
        }
    }

    /// Whether it refers to messages behind the ends of the timer topic's queue and of the log. It does not any more; all timers of the runs
    /// are read again from the queue.
    pub fn clamp_to_ends(&mut self, queue_end: u64, log_end: u64) -> bool {
        let offsets = [
            self.covered_offset,
            self.delivered_offset,
            self.counted_offset,
        ];
        let marks = self.set_back.iter().map(|mark| mark.before_position);
        let mut positions = marks.chain([self.covered_position, self.delivered_position]);
        let is_behind = offsets.into_iter().any(|offset| offset > queue_end)
            || positions.any(|position| position > log_end);
        if !is_behind || mutant!(OffsetsNotClamped) {
            return false;
        }
        self.delivered_offset = self.delivered_offset.min(queue_end);
        self.delivered_position = self.delivered_position.min(log_end);
        for mark in &mut self.set_back {
            mark.before_position = mark.before_position.min(log_end);
        }
        for window in &mut self.former_windows {
            window.before_offset = window.before_offset.min(queue_end);
        }
        self.counted_offset = 0;
        self.waiting = WaitingTable::default();
        self.forget_runs();
        true
    }

    /// All timers of the runs are read again from the queue. What is over stays over.
    pub fn forget_runs(&mut self) {
        (self.covered_offset, self.covered_position) = (0, 0);
        self.runs.clear();
    }

    /// Messages from `from` on are scheduled by this window. The queue begins at `min`.
    pub fn use_roll_window(&mut self, roll_window_ms: u64, from: u64, min: u64) {
        self.former_windows.push(FormerWindow {
            before_offset: from,
            roll_window_ms: std::mem::replace(&mut self.roll_window_ms, roll_window_ms),
        });
        self.former_windows
            .retain(|window| window.before_offset > min);
        if self.former_windows.len() > MOST_WINDOWS {
            self.former_windows.remove(0);
        }
    }

    /// By which the message with this offset was scheduled, or is to be.
    pub fn roll_window_ms(&self, offset: u64) -> u64 {
        let mut former = self.former_windows.iter();
        let former = former.find(|window| offset < window.before_offset);
        former.map_or(self.roll_window_ms, |window| window.roll_window_ms)
    }

    /// All messages that were due by then and are before this offset, and this position, are over.
    pub fn delivered(&mut self, by_ms: u64, before_offset: u64, before_position: u64) {
        self.set_back.retain(|mark| mark.by_ms > by_ms);
        if by_ms >= self.delivered_ms || mutant!(SetBackRepeats) {
            self.delivered_ms = by_ms;
            self.delivered_offset = before_offset;
            self.delivered_position = before_position;
            self.late_ms = None;
            return;
        }
        let last_position = self
            .set_back
            .last()
            .map_or(self.delivered_position, |mark| mark.before_position);
        if before_position <= last_position {
            return; // It says no more than the mark before it.
        }
        if self.set_back.len() == MOST_STEPS {
            self.set_back.remove(0);
        }
        self.set_back.push(Mark {
            by_ms,
            before_position,
        });
    }

    /// A timer that is not over is known from now on.
    pub fn waits(&mut self, timer: &Timer) {
        if timer.at_ms <= self.delivered_ms {
            let late_ms = self.late_ms.unwrap_or(timer.at_ms);
            self.late_ms = Some(late_ms.min(timer.at_ms));
        }
    }

    /// All timers that were due by then are over, whatever their position.
    pub fn all_over_ms(&self) -> u64 {
        let late_ms = self.late_ms.unwrap_or(u64::MAX);
        self.delivered_ms.min(late_ms.saturating_sub(1))
    }

    /// All timers before this key are over.
    pub fn first_key(&self) -> TimerKey {
        (self.all_over_ms().saturating_sub(RECALL_SPAN_MS), 0)
    }

    pub fn is_over(&self, timer: &Timer) -> bool {
        let marks = self.set_back.iter().copied();
        let first = Mark {
            by_ms: self.delivered_ms,
            before_position: self.delivered_position,
        };
        marks.chain([first]).any(|mark| {
            needed_until_ms(timer) <= mark.by_ms && timer.physical_offset < mark.before_position
        })
    }

    /// As [`Self::is_over`], of a timer with this offset in the timer topic's queue.
    pub fn was_over(&self, offset: u64, timer: &Timer) -> bool {
        let is_marked =
            offset < self.delivered_offset && needed_until_ms(timer) <= self.delivered_ms;
        is_marked || self.is_over(timer)
    }
}

/// A checkpoint's text in the making: it has a row for each topic.
#[derive(Debug)]
pub struct CheckpointText {
    out: Vec<u8>,
    rows: WaitingRows,
}

impl CheckpointText {
    /// Writes the next rows; whether there may be more.
    pub fn write_some(&mut self) -> bool {
        let out = &mut self.out;
        let Ok(is_over) = self.rows.write_some(|topic, waiting| {
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            out.extend(loose_json::to_vec(topic));
            out.push(b':');
            out.extend(loose_json::to_vec(waiting));
            Ok::<_, Infallible>(())
        });
        if is_over {
            self.out.extend_from_slice(b"}}");
        }
        !is_over
    }

    pub fn into_string(self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

fn in_parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WaitingTable, D::Error> {
    let rows = BTreeMap::<String, Waiting>::deserialize(deserializer)?;
    Ok(rows.into_iter().collect())
}

fn needed_until_ms(timer: &Timer) -> u64 {
    let is_recall = timer.kind == TimerKind::Recall;
    let span_ms = if is_recall { RECALL_SPAN_MS } else { 0 };
    timer.at_ms.saturating_add(span_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::limits::ROWS_PER_TURN;

    #[test]
    fn a_text_with_many_topics_is_made_in_slices() {
        let rows = (0..1_000).map(|n| {
            let waiting = Waiting {
                count: n,
                changed_ms: 7,
            };
            (format!("T{n}"), waiting)
        });
        for count in [0, 1, ROWS_PER_TURN, 1_000] {
            let checkpoint = Checkpoint {
                waiting: rows.clone().take(count).collect(),
                delivered_position: 1,
                ..Checkpoint::default()
            };
            let (mut text, mut slices) = (checkpoint.begin_text(), 1);
            let mut before = text.out.len();
            while text.write_some() {
                assert!(text.out.len() - before < 64 * ROWS_PER_TURN);
                (before, slices) = (text.out.len(), slices + 1);
            }
            assert_eq!(slices, count / ROWS_PER_TURN + 1);
            assert_eq!(Checkpoint::decode(&text.into_string()), Ok(checkpoint));
        }
    }

    fn timer(at_ms: u64, physical_offset: u64) -> Timer {
        Timer {
            at_ms,
            physical_offset,
            size: 100,
            kind: TimerKind::Deliver,
        }
    }

    #[test]
    fn what_was_delivered_stays_over_when_the_clock_is_set_back() {
        let mut checkpoint = Checkpoint::default();
        checkpoint.delivered(10_000, 5, 500);
        // The clock is set back to 4,000; a timer of 6,000 is sent, and delivered.
        checkpoint.waits(&timer(6_000, 700));
        assert!(!checkpoint.is_over(&timer(6_000, 700)));
        assert_eq!(checkpoint.first_key().0, 6_000 - 1 - RECALL_SPAN_MS);
        checkpoint.delivered(6_000, 8, 800);
        let checkpoint = Checkpoint::decode(&checkpoint.encode()).unwrap();
        for (at_ms, position, is_over) in [
            (10_000, 499, true),
            (6_000, 700, true),
            (6_000, 800, false),
            (6_001, 700, false),
            (10_001, 499, false),
        ] {
            let is = checkpoint.is_over(&timer(at_ms, position));
            assert_eq!(is, is_over, "at {at_ms}, position {position}");
        }
    }

    #[test]
    fn a_clock_that_has_caught_up_leaves_one_mark() {
        let mut checkpoint = Checkpoint::default();
        checkpoint.delivered(10_000, 5, 500);
        checkpoint.waits(&timer(6_000, 700));
        checkpoint.delivered(6_000, 8, 800);
        checkpoint.delivered(7_000, 9, 900);
        assert_eq!(checkpoint.set_back.len(), 1);
        checkpoint.delivered(10_000, 9, 900);
        assert_eq!((checkpoint.set_back.len(), checkpoint.late_ms), (0, None));
        assert!(checkpoint.is_over(&timer(6_000, 899)));
    }

    #[test]
    fn what_is_behind_the_log_is_read_again() {
        let mut checkpoint = Checkpoint::default();
        checkpoint.delivered(10_000, 5, 500);
        (checkpoint.covered_offset, checkpoint.covered_position) = (6, 600);
        checkpoint.runs.push(RunName::default());
        let before = checkpoint.clone();
        assert!(!checkpoint.clamp_to_ends(6, 600));
        assert_eq!(checkpoint, before);
        for (queue_end, log_end) in [(5, 600), (6, 599)] {
            let mut checkpoint = before.clone();
            assert!(checkpoint.clamp_to_ends(queue_end, log_end));
            assert_eq!((checkpoint.covered_offset, checkpoint.runs.len()), (0, 0));
            assert!(checkpoint.is_over(&timer(10_000, 499)), "it was delivered");
        }
        let mut checkpoint = before;
        assert!(checkpoint.clamp_to_ends(3, 400));
        assert!(!checkpoint.is_over(&timer(9_000, 450)), "another message");
    }

    #[test]
    fn a_message_keeps_the_window_by_which_it_was_scheduled() {
        let mut checkpoint = Checkpoint {
            roll_window_ms: 300,
            ..Checkpoint::default()
        };
        checkpoint.use_roll_window(500, 10, 0);
        checkpoint.use_roll_window(400, 20, 0);
        checkpoint.forget_runs();
        let checkpoint = Checkpoint::decode(&checkpoint.encode()).unwrap();
        for (offset, window_ms) in [(0, 300), (9, 300), (10, 500), (19, 500), (20, 400)] {
            assert_eq!(checkpoint.roll_window_ms(offset), window_ms, "{offset}");
        }
        let mut checkpoint = checkpoint;
        checkpoint.use_roll_window(600, 30, 10);
        assert_eq!(checkpoint.former_windows.len(), 2);
        for n in 0..100 {
            checkpoint.use_roll_window(n, 40 + n, 10);
        }
        assert_eq!(checkpoint.former_windows.len(), MOST_WINDOWS);
    }

    #[test]
    fn steps_back_are_bounded() {
        let mut checkpoint = Checkpoint::default();
        for n in 0..100 {
            checkpoint.delivered(10_000 - n, n, n + 1);
        }
        assert_eq!(checkpoint.set_back.len(), MOST_STEPS);
        assert!(checkpoint.is_over(&timer(10_000 - 99, 99)));
    }
}
