//! The timers that wait, and what a restart needs to find them again (RocketMQ: `TimerMessageStore`, whose wheel and log of
//! timers are files; here the wheel is in memory and the log of timers is the timer topic's queue itself).
//!
//! ```text
//! timer topic, queue 0   0 ........ covered ............ enqueued ... end
//!                          in runs          fresh
//! time                   .......... delivered ...... horizon ........
//!                          over             in the wheel    in runs only
//! ```
//! Everything that was enqueued and is not over waits in the wheel, except for what is in a run and due from the horizon on.
//! There is no horizon while memory is enough. A restart reads the queue from `covered` on and skips what is over.

use std::collections::{BTreeSet, VecDeque};

use super::checkpoint::{Checkpoint, RECALL_SPAN_MS, RunName};
use super::crowd::Crowd;
use super::figures::{MasterTimers, TimerFigures};
use super::timed;
use super::waiting::WaitingTable;
use super::wheel::Wheel;
use crate::message::Record;
use crate::store::{Timer, TimerKey, TimerKind};

/// Timers that are due within this time are in memory.
pub const LEAD_MS: u64 = 5_000;

/// Recalls that are forgotten in one turn.
const FORGOTTEN_PER_TURN: usize = 1024;

/// Timers that are placed anew in the wheel in one turn, at some 60 ns each.
const MOVED_PER_TURN: usize = 8_192;

/// The share of the timers in memory, 1/16, that may have to be read again after a crash.
const FRESH_SHARE: usize = 16;

#[derive(Debug)]
pub struct Timers {
    wheel: Wheel<Timer>,
    /// Recalled messages: TIMER_OUT_MS, and topic with unique key.
    recalled: BTreeSet<(i64, String)>,
    /// Everything from `covered` on.
    fresh: VecDeque<Timer>,
    enqueued_offset: u64,
    /// All messages of the timer topic before this log position have been looked at.
    enqueued_position: u64,
    horizon: Option<TimerKey>,
    /// Timers that are due in the horizon's millisecond, but behind it. They will be in a run, and a refill would bring them again.
    held: Crowd<(u64, Timer)>,
    saved: Checkpoint,
    is_dirty: bool,
    has_taken: bool,
    memory_entries: usize,
    /// Of a slave: its master delivers, and nothing waits in the wheel.
    follows: bool,
}

/// Timers that are to be written into a run.
#[derive(Debug)]
pub struct Uncovered {
    pub timers: Vec<Timer>,
    pub offset: u64,
    pub position: u64,
    fresh: usize,
    copied: usize,
}

impl Timers {
    pub fn new(saved: Checkpoint, memory_entries: usize) -> Self {
        let first_key = saved.first_key();
        Self {
            wheel: Wheel::new(first_key.0),
            recalled: BTreeSet::new(),
            fresh: VecDeque::new(),
            enqueued_offset: saved.covered_offset,
            enqueued_position: saved.covered_position,
            horizon: (!saved.runs.is_empty()).then_some(first_key),
            saved,
            held: Crowd::default(),
            is_dirty: false,
            has_taken: false,
            memory_entries,
            follows: false,
        }
    }

    /// Those of a slave. It keeps what a restart as master needs, and delivers nothing.
    pub fn following(saved: Checkpoint, memory_entries: usize) -> Self {
        Self {
            follows: true,
            ..Self::new(saved, memory_entries)
        }
    }

    /// The master has said what is over. Only messages before its offset are to be enqueued afterwards: no other one is over.
    pub fn follow(&mut self, master: &MasterTimers) {
        let before = (self.saved.delivered_ms, self.saved.delivered_offset);
        let position = self.enqueued_position;
        self.saved
            .delivered(master.read_ms, master.delivered_offset, position);
        self.known_up_to(master.known_position);
        if let Some(waiting) = &master.waiting
            && waiting.data_version != self.saved.version
        {
            self.saved.waiting = waiting.timing_count.clone();
            self.saved.version = waiting.data_version;
            self.is_dirty = true;
        }
        self.saved.counted_offset = self.saved.counted_offset.max(master.delivered_offset);
        // The time alone is of no interest to a restart that has no timers.
        let has_any = !self.fresh.is_empty() || !self.saved.runs.is_empty();
        let is_after = (self.saved.delivered_ms, self.saved.delivered_offset);
        self.is_dirty |= has_any && before != is_after;
    }

    /// The next entry of the timer topic's queue to look at.
    pub fn enqueued_offset(&self) -> u64 {
        self.enqueued_offset
    }

    /// Everything before this offset has been looked at, or is no longer there.
    pub fn skip_to(&mut self, offset: u64) {
        self.enqueued_offset = offset;
        self.is_dirty = true;
    }

    /// Adds the next message of the timer topic; `false` if it has no valid time.
    pub fn enqueue(&mut self, offset: u64, record: &Record<'_>, now_ms: u64) -> bool {
        self.skip_to(offset + 1);
        let Some(timer) = timed::timer(record, self.saved.roll_window_ms(offset)) else {
            return false;
        };
        self.enqueued_position = self.enqueued_position.max(record.physical_offset + 1);
        if self.saved.was_over(offset, &timer) {
            return true;
        }
        self.saved.waits(&timer);
        self.count(offset, &timer, record, now_ms);
        self.fresh.push_back(timer);
        match timer.kind {
            _ if self.follows => {}
            TimerKind::Recall if timer.at_ms <= now_ms => self.recall(record),
            _ => self.insert(timer, now_ms),
        }
        true
    }

    /// Counts each message once, also if it is read again after a restart.
    fn count(&mut self, offset: u64, timer: &Timer, record: &Record<'_>, now_ms: u64) {
        if offset < self.saved.counted_offset {
            return;
        }
        self.saved.counted_offset = offset + 1;
        let Some(topic) = timed::real_topic(record).filter(|_| timer.kind != TimerKind::Recall)
        else {
            return;
        };
        let waiting = self.saved.waiting.row(topic);
        waiting.count += 1;
        waiting.changed_ms = now_ms;
        self.saved.version = self.saved.version.next(now_ms as i64);
    }

    /// The message was written to its real topic, or to the timer topic again; or it was recalled.
    pub fn delivered(&mut self, record: &Record<'_>, now_ms: u64) {
        let Some(topic) = timed::real_topic(record) else {
            return;
        };
        let table = &mut self.saved.waiting;
        if let Some(waiting) = table.get_mut(topic) {
            waiting.count = waiting.count.saturating_sub(1);
            waiting.changed_ms = now_ms;
            if waiting.count == 0 {
                table.remove(topic);
            }
            self.saved.version = self.saved.version.next(now_ms as i64);
        }
    }

    /// Their figures, if the timer topic's queue ends at `end`.
    pub fn figures(&self, end: u64, now_ms: u64) -> TimerFigures {
        // For later timers the wheel knows a time that may be too early, but never one that is too late.
        let due_ms = self.wheel.next_due_ms().unwrap_or(now_ms);
        let due_ms = due_ms.max(self.saved.delivered_ms);
        TimerFigures {
            read_ms: self.saved.delivered_ms,
            delivered_offset: self.saved.delivered_offset,
            known_position: self.saved.known_position.get().unwrap_or(0),
            queue_offset: self.enqueued_offset,
            behind_messages: end.saturating_sub(self.enqueued_offset),
            behind_ms: now_ms.saturating_sub(due_ms),
            waiting: self.saved.waiting.clone(),
            version: self.saved.version,
        }
    }

    /// From now on the message that this record recalls is not delivered.
    pub fn recall(&mut self, record: &Record<'_>) {
        self.recalled.extend(timed::recall_key(record));
    }

    pub fn is_recalled(&self, record: &Record<'_>) -> bool {
        !self.recalled.is_empty()
            && timed::recall_key(record).is_some_and(|key| self.recalled.contains(&key))
    }

    /// The number of timers that make a run.
    pub fn fresh_entries(&self) -> usize {
        self.memory_entries.div_ceil(FRESH_SHARE)
    }

    /// Whether too many timers are not covered: no more may be enqueued.
    pub fn is_full(&self) -> bool {
        self.fresh.len() >= 4 * self.fresh_entries()
    }

    /// Timers that were due by then may have been delivered, whatever the clock says now.
    pub fn reached_ms(&self) -> u64 {
        self.wheel.position_ms().max(self.saved.delivered_ms)
    }

    pub fn is_due(&self, now_ms: u64) -> bool {
        self.wheel
            .next_due_ms()
            .is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Appends the next due timers to `out`: up to `max_bytes` of messages, or a single larger one. Whether these were all; there may be
    /// others also if none is appended, as so many are placed in the wheel anew.
    pub fn take_due(
        &mut self,
        now_ms: u64,
        max_timers: usize,
        max_bytes: usize,
        out: &mut Vec<Timer>,
    ) -> bool {
        // The clock may have been set back: then timers that were due are not due any more.
        self.wheel.set_back(now_ms);
        let until_ms = self.horizon.map_or(now_ms, |(at_ms, _)| at_ms.min(now_ms));
        let (mut bytes, mut moves) = (0, MOVED_PER_TURN);
        while out.len() < max_timers && bytes < max_bytes && moves > 0 {
            let Some((at_ms, timer)) = self.wheel.pop_due(until_ms, &mut moves) else {
                if !self.wheel.is_moving() {
                    return true;
                }
                self.move_some(&mut moves);
                continue;
            };
            if self.horizon.is_some_and(|horizon| timer.key() >= horizon) {
                self.held.push_back((at_ms, timer));
                moves = moves.saturating_sub(1);
                continue;
            }
            bytes += timer.size as usize;
            out.push(timer);
            self.has_taken = true;
        }
        false
    }

    /// To be called in each turn in which timers are enqueued: what is dropped from memory goes before more than that has come.
    pub fn place_some(&mut self) {
        let mut moves = MOVED_PER_TURN;
        self.move_some(&mut moves);
    }

    /// Those that a refill brings again are forgotten.
    fn move_some(&mut self, moves: &mut usize) {
        let (horizon, position) = (self.horizon, self.saved.covered_position);
        self.wheel
            .move_some(moves, |_, timer| is_in_runs_only(timer, horizon, position));
    }

    /// Puts timers back that were taken and could not be delivered.
    pub fn put_back(&mut self, timers: impl IntoIterator<Item = Timer>) {
        for timer in timers {
            self.wheel.insert(timer.at_ms, timer);
        }
    }

    /// Whatever was delivered before `log_end` is over by the marks. To be called when nothing is due any more.
    pub fn all_delivered_before(&mut self, log_end: u64) {
        // From the horizon on, what was delivered is not over by a mark yet.
        if self
            .horizon
            .is_none_or(|(at_ms, _)| self.wheel.settled_ms() < at_ms)
        {
            self.known_up_to(log_end);
        }
    }

    fn known_up_to(&mut self, position: u64) {
        self.is_dirty |= self.saved.known_position.set(position);
    }

    /// All timers that were taken are in the log, or were put back.
    pub fn settle(&mut self) {
        let settled_ms = self.wheel.settled_ms();
        let delivered_ms = match self.horizon {
            Some((at_ms, _)) => settled_ms.min(at_ms.saturating_sub(1)),
            None => settled_ms,
        };
        self.saved
            .delivered(delivered_ms, self.enqueued_offset, self.enqueued_position);
        self.is_dirty |= std::mem::take(&mut self.has_taken);
        if self.is_empty() && self.held.is_empty() {
            self.saved.waiting = WaitingTable::default(); // Some had lost their records to the retention, and so never were delivered.
        }
        let still_ms = delivered_ms.saturating_sub(2 * RECALL_SPAN_MS) as i64;
        let is_past = |(at_ms, _): &(i64, String)| *at_ms < still_ms;
        for _ in 0..FORGOTTEN_PER_TURN {
            if !self.recalled.first().is_some_and(is_past) {
                break;
            }
            self.recalled.pop_first();
        }
    }

    /// When something is to be done next.
    pub fn next_ms(&self) -> Option<u64> {
        let refill_ms = self.horizon.map(|(at_ms, _)| at_ms.saturating_sub(LEAD_MS));
        let due_ms = self.wheel.next_due_ms();
        refill_ms.into_iter().chain(due_ms).min()
    }

    /// The key from which timers have to be read from the runs now, if any.
    pub fn refill_from(&self, now_ms: u64) -> Option<TimerKey> {
        // What the runs have must have left the wheel first.
        if self.wheel.is_moving() {
            return None;
        }
        let is_near = |key: &TimerKey| key.0 <= now_ms.saturating_add(LEAD_MS);
        let key = self.horizon.filter(is_near)?;
        (self.wheel.len() < self.memory_entries || !self.is_due(now_ms)).then_some(key)
    }

    /// Adds the timers that the runs have before `horizon`.
    pub fn refill(&mut self, timers: Vec<Timer>, horizon: Option<TimerKey>) {
        for timer in timers {
            if !self.saved.is_over(&timer) {
                self.wheel.insert(timer.at_ms, timer);
            }
        }
        self.horizon = horizon;
        self.wheel.insert_all(std::mem::take(&mut self.held));
    }

    /// Whether there is something to save, and whether it is time for a new run.
    pub fn take_dirty(&mut self) -> Option<bool> {
        self.saved.known_position.note_save();
        let is_due = self.fresh.len() >= self.fresh_entries();
        (std::mem::take(&mut self.is_dirty) || is_due).then_some(is_due)
    }

    pub fn set_dirty(&mut self) {
        self.is_dirty = true;
    }

    /// The timers to be written into a run; they are copied by [`Self::copy_uncovered`].
    pub fn uncovered(&self) -> Uncovered {
        Uncovered {
            timers: Vec::with_capacity(self.fresh.len()),
            offset: self.enqueued_offset,
            position: self.saved.covered_position,
            fresh: self.fresh.len(),
            copied: 0,
        }
    }

    /// Copies the next timers, `most` at most; whether there are more.
    pub fn copy_uncovered(&self, uncovered: &mut Uncovered, most: usize) -> bool {
        let end = uncovered.fresh.min(uncovered.copied + most);
        for timer in self.fresh.range(uncovered.copied..end) {
            uncovered.position = uncovered.position.max(timer.physical_offset + 1);
            if !self.saved.is_over(timer) {
                uncovered.timers.push(*timer);
            }
        }
        uncovered.copied = end;
        end < uncovered.fresh
    }

    /// What is to be saved now.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.saved
    }

    /// The runs are on the device, and a checkpoint names them: their timers need not be in memory.
    pub fn covered(&mut self, uncovered: &Uncovered, runs: Vec<RunName>, now_ms: u64) {
        self.fresh.drain(..uncovered.fresh);
        self.saved.covered_offset = uncovered.offset;
        self.saved.covered_position = uncovered.position;
        self.saved.runs = runs;
        self.shed(now_ms);
        if let Some(horizon) = self.horizon {
            let position = uncovered.position;
            self.wheel.take_up_from(horizon.0);
            self.held
                .retain(|(_, timer)| !is_in_runs_only(timer, Some(horizon), position));
        }
    }

    /// Must be called first: the covered timers were scheduled by the former window. The queue begins at `min`.
    pub fn use_roll_window(&mut self, roll_window_ms: u64, min: u64) {
        let from = self.enqueued_offset;
        self.saved.use_roll_window(roll_window_ms, from, min);
    }

    /// The runs are of no use any more: as after a restart without them, all that waits is to be enqueued again.
    pub fn read_again(&mut self) {
        let (reached_ms, follows) = (self.wheel.position_ms(), self.follows);
        let mut saved = std::mem::take(&mut self.saved);
        saved.forget_runs();
        // A million recalls would not be forgotten in one turn.
        let recalled = std::mem::take(&mut self.recalled);
        *self = Self {
            wheel: Wheel::new(reached_ms),
            recalled,
            is_dirty: true,
            follows,
            ..Self::new(saved, self.memory_entries)
        };
    }

    pub fn len(&self) -> usize {
        self.wheel.len()
    }

    pub fn is_empty(&self) -> bool {
        self.wheel.is_empty() && self.horizon.is_none()
    }

    fn insert(&mut self, timer: Timer, now_ms: u64) {
        self.wheel.insert(timer.at_ms, timer);
        if self.wheel.len() > self.memory_entries {
            self.shed(now_ms);
        }
    }

    /// Drops the latest timers from memory, if the runs have them.
    fn shed(&mut self, now_ms: u64) {
        // Some of those that are moving are dropped.
        if self.wheel.len() <= self.memory_entries || self.wheel.is_moving() {
            return;
        }
        let near_ms = now_ms.saturating_add(LEAD_MS);
        let from_ms = self.wheel.shed(near_ms, self.memory_entries / 2);
        if let Some(from_ms) = from_ms {
            let from = (from_ms, 0);
            self.horizon = Some(self.horizon.map_or(from, |horizon| horizon.min(from)));
        }
    }
}

/// Whether a timer is due from the horizon on and in a run, as its message stands before this position.
fn is_in_runs_only(timer: &Timer, horizon: Option<TimerKey>, covered_position: u64) -> bool {
    timer.physical_offset < covered_position && horizon.is_some_and(|key| timer.key() >= key)
}
