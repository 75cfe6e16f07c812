//! A hierarchical timer wheel: what waits for its time, by the millisecond (Varghese and Lauck, 1987).
//!
//! ```text
//! level 0   64 slots of      1 ms   | what is due at exactly this time
//! level 1   64 slots of     64 ms   |
//! level 2   64 slots of  4,096 ms   | what is due within this span; moved down when its first millisecond comes
//! ...                               |
//! level 10  the rest of 64 bits
//! ```
//! An entry stands on the level of the highest six bits in which its time differs from the wheel's. It moves down at most
//! ten times, and the next slot of a level is one look at a bitmap, so that neither inserting nor expiry depends on how
//! many entries wait.
//!
//! One slot may have all entries, a million. What is to be placed anew is taken out of its slots at once, and placed some at a time:
//! [`Wheel::move_some`]. Until then nothing else becomes due.

use super::crowd::Crowd;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Enough for every time there is.
const LEVELS: usize = u64::BITS.div_ceil(BITS) as usize;

/// Entries of type `T` with their times.
#[derive(Debug)]
pub struct Wheel<T> {
    levels: Box<[Level<T>]>,
    /// Everything up to this time has left the levels.
    position_ms: u64,
    /// Entries that were taken out of their slots and are to be placed anew.
    moving: Crowd<(u64, T)>,
    /// Entries that have left the levels and are not taken yet, in the order of their times, except after [`Self::late_ms`].
    ready: Crowd<(u64, T)>,
    /// The earliest time of an entry that was added to `ready`, or is to be, out of order.
    late_ms: Option<u64>,
    len: usize,
}

#[derive(Debug)]
struct Level<T> {
    /// Which slots are not empty.
    occupied: u64,
    slots: Box<[Crowd<(u64, T)>]>,
}

impl<T> Wheel<T> {
    pub fn new(now_ms: u64) -> Self {
        let level = |_| Level {
            occupied: 0,
            slots: std::iter::repeat_with(Crowd::default).take(SLOTS).collect(),
        };
        Self {
            levels: (0..LEVELS).map(level).collect(),
            position_ms: now_ms,
            moving: Crowd::default(),
            ready: Crowd::default(),
            late_ms: None,
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// An entry that is due already is put behind the other due ones.
    pub fn insert(&mut self, at_ms: u64, entry: T) {
        self.len += 1;
        self.place(at_ms, entry);
    }

    /// As many at once as there may be; [`Self::move_some`] places them.
    pub fn insert_all(&mut self, entries: Crowd<(u64, T)>) {
        self.len += entries.len();
        let late_ms = entries.iter().map(|(at_ms, _)| *at_ms).min();
        self.note_late(late_ms);
        self.moving.append(entries);
    }

    /// No entry is due before this time; there may be none at it either. `None` if the wheel is empty.
    pub fn next_due_ms(&self) -> Option<u64> {
        match self.ready.is_empty() && self.moving.is_empty() {
            false => Some(self.position_ms),
            true => self.next_slot().map(|(_, _, start_ms)| start_ms),
        }
    }

    /// The next entry that is due, with its time. A slot with more than `moves` entries, of which it takes those that it places, is left to
    /// [`Self::move_some`].
    pub fn pop_due(&mut self, now_ms: u64, moves: &mut usize) -> Option<(u64, T)> {
        while self.ready.is_empty() {
            if self.is_moving() {
                return None;
            }
            self.late_ms = None;
            match self.next_slot() {
                Some((level, slot, start_ms)) if start_ms <= now_ms => {
                    self.open(level, slot, start_ms, moves);
                }
                _ => {
                    self.position_ms = self.position_ms.max(now_ms);
                    return None;
                }
            }
        }
        self.len -= 1;
        self.ready.pop_front()
    }

    /// Whether entries are to be placed: others may be due than are ready.
    pub fn is_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// Places up to so many of the entries that were taken out of their slots, or forgets them.
    pub fn move_some(&mut self, moves: &mut usize, may_go: impl Fn(u64, &T) -> bool) {
        let count = self.moving.len().min(*moves);
        *moves -= count;
        for _ in 0..count {
            let Some((at_ms, entry)) = self.moving.pop_front() else {
                return;
            };
            match may_go(at_ms, &entry) {
                true => self.len -= 1,
                false => self.place(at_ms, entry),
            }
        }
    }

    /// Entries that were due up to this time may have been taken.
    pub fn position_ms(&self) -> u64 {
        self.position_ms
    }

    /// All entries that were due up to this time have been taken.
    pub fn settled_ms(&self) -> u64 {
        if self.ready.is_empty() && self.moving.is_empty() {
            return self.position_ms;
        }
        let late_ms = self.late_ms.unwrap_or(self.position_ms);
        late_ms.min(self.position_ms).saturating_sub(1)
    }

    /// Sets the clock back: entries that were due may not be due any more.
    pub fn set_back(&mut self, now_ms: u64) {
        if now_ms >= self.position_ms {
            return;
        }
        // On this level and above it the entries stand where the earlier time wants them, too.
        let level = ((now_ms ^ self.position_ms).ilog2() / BITS) as usize;
        let first_ms = self.ready.front().map(|(at_ms, _)| *at_ms);
        let late_ms = first_ms.into_iter().chain(self.late_ms).min();
        self.position_ms = now_ms;
        self.late_ms = None;
        self.note_late(late_ms);
        self.moving.append(std::mem::take(&mut self.ready));
        for level in 0..level {
            self.take_up_slots(level, u64::MAX);
        }
    }

    /// Empties the slots that are due latest into `moving`, until `keep` entries would be left without them; slots that begin up to `near_ms` stay.
    /// Everything that is due from the returned time on is there, and may be forgotten by [`Self::move_some`].
    pub fn shed(&mut self, near_ms: u64, keep: usize) -> Option<u64> {
        let (mut from_ms, mut left) = (None, self.len);
        for level in (0..LEVELS).rev() {
            while self.levels[level].occupied != 0 && left > keep {
                let slot = self.levels[level].occupied.ilog2() as usize;
                let start_ms = self.start_ms(level, slot);
                if start_ms <= near_ms {
                    return from_ms;
                }
                from_ms = Some(start_ms);
                let entries = self.empty(level, slot);
                left -= entries.len();
                self.moving.append(entries);
            }
        }
        from_ms
    }

    /// Empties the slots from this time on into `moving`, except for what is ready: [`Self::move_some`] may forget it.
    pub fn take_up_from(&mut self, from_ms: u64) {
        for level in 0..LEVELS {
            let mut slots = 0;
            let mut left = self.levels[level].occupied;
            while left != 0 {
                let slot = left.trailing_zeros();
                left &= left - 1;
                let last_ms =
                    self.start_ms(level, slot as usize) | ((1 << (BITS * level as u32)) - 1);
                slots |= u64::from(last_ms >= from_ms) << slot;
            }
            self.take_up_slots(level, slots);
        }
    }

    fn take_up_slots(&mut self, level: usize, slots: u64) {
        let mut left = self.levels[level].occupied & slots;
        while left != 0 {
            let entries = self.empty(level, left.trailing_zeros() as usize);
            left &= left - 1;
            self.moving.append(entries);
        }
    }

    fn empty(&mut self, level: usize, slot: usize) -> Crowd<(u64, T)> {
        self.levels[level].occupied &= !(1 << slot);
        std::mem::take(&mut self.levels[level].slots[slot])
    }

    fn place(&mut self, at_ms: u64, entry: T) {
        if at_ms <= self.position_ms {
            self.note_late(Some(at_ms));
            self.ready.push_back((at_ms, entry));
            return;
        }
        let level = ((at_ms ^ self.position_ms).ilog2() / BITS) as usize;
        let slot = (at_ms >> (BITS * level as u32)) as usize & (SLOTS - 1);
        self.levels[level].slots[slot].push_back((at_ms, entry));
        self.levels[level].occupied |= 1 << slot;
    }

    fn note_late(&mut self, at_ms: Option<u64>) {
        let at_ms = at_ms.filter(|at_ms| *at_ms < self.position_ms);
        self.late_ms = at_ms.into_iter().chain(self.late_ms).min();
    }

    /// The slot whose time comes next: any slot of a lower level comes before those of a higher one.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let (level, found) = self
            .levels
            .iter()
            .enumerate()
            .find(|(_, level)| level.occupied != 0)?;
        let slot = found.occupied.trailing_zeros() as usize;
        Some((level, slot, self.start_ms(level, slot)))
    }

    fn start_ms(&self, level: usize, slot: usize) -> u64 {
        let shift = BITS * level as u32;
        let above = self.position_ms >> shift >> BITS << BITS;
        (above | slot as u64) << shift
    }

    /// Advances to a slot's first millisecond.
    fn open(&mut self, level: usize, slot: usize, start_ms: u64, moves: &mut usize) {
        let mut entries = self.empty(level, slot);
        self.position_ms = start_ms;
        if entries.len() > *moves {
            return self.moving.append(entries);
        }
        *moves -= entries.len();
        while let Some((at_ms, entry)) = entries.pop_front() {
            self.place(at_ms, entry);
        }
        // The memory of a small slot is used again, that of a crowd given back.
        if level == 0 && entries.first_capacity() <= SLOTS {
            self.levels[level].slots[slot] = entries;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Advance(u64),
        Take(usize, u64),
        SetBack(u64),
        Shed(u64, usize),
        Forget(u64, u32),
    }

    fn delay() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..3_u64,
            0..200_u64,
            0..10_000_u64,
            0..200_000_000_u64,
            any::<u64>().prop_map(|delay| delay >> 8),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => delay().prop_map(Step::Insert),
            4 => delay().prop_map(Step::Advance),
            2 => (0..5_usize, delay()).prop_map(|(count, delay)| Step::Take(count, delay)),
            1 => delay().prop_map(Step::SetBack),
            1 => (delay(), 0..20_usize).prop_map(|(delay, keep)| Step::Shed(delay, keep)),
            1 => (delay(), 2..5_u32).prop_map(|(delay, divisor)| Step::Forget(delay, divisor)),
        ]
    }

    /// What the wheel must do, in a map.
    #[derive(Default)]
    struct Model {
        waiting: BTreeMap<u64, Vec<u32>>,
    }

    impl Model {
        fn remove(&mut self, at_ms: u64, number: u32) {
            let same_time = self.waiting.get_mut(&at_ms).expect("known");
            same_time.retain(|other| *other != number);
            if same_time.is_empty() {
                self.waiting.remove(&at_ms);
            }
        }

        fn forget(&mut self, from_ms: u64, may_go: impl Fn(&u32) -> bool) {
            let gone = self.waiting.range_mut(from_ms..);
            gone.for_each(|(_, numbers)| numbers.retain(|number| !may_go(number)));
            self.waiting.retain(|_, numbers| !numbers.is_empty());
        }

        fn first_ms(&self) -> Option<u64> {
            self.waiting.keys().next().copied()
        }

        fn len(&self) -> usize {
            self.waiting.values().map(Vec::len).sum()
        }
    }

    /// Places three entries at a time.
    fn next_due<T>(wheel: &mut Wheel<T>, now_ms: u64) -> Option<(u64, T)> {
        loop {
            let mut moves = 3;
            let next = wheel.pop_due(now_ms, &mut moves);
            if next.is_some() || !wheel.is_moving() {
                return next;
            }
            wheel.move_some(&mut moves, |_, _| false);
        }
    }

    fn move_all<T>(wheel: &mut Wheel<T>, may_go: impl Fn(u64, &T) -> bool) {
        let mut moves = usize::MAX;
        wheel.move_some(&mut moves, may_go);
    }

    proptest! {
        #[test]
        fn as_a_map_would(start_ms in 1000..1_u64 << 50, steps in proptest::collection::vec(step(), 1..200)) {
            let (mut wheel, mut model) = (Wheel::new(start_ms), Model::default());
            let (mut now_ms, mut number) = (start_ms, 0_u32);
            for step in steps {
                match step {
                    Step::Insert(delay_ms) => {
                        number += 1;
                        let at_ms = (now_ms + delay_ms).saturating_sub(20).max(1);
                        wheel.insert(at_ms, number);
                        model.waiting.entry(at_ms).or_default().push(number);
                    }
                    Step::Advance(delay_ms) => {
                        now_ms += delay_ms;
                        let mut last_ms = 0;
                        while let Some((at_ms, entry)) = next_due(&mut wheel, now_ms) {
                            prop_assert!(at_ms <= now_ms, "{at_ms} is not due at {now_ms}");
                            prop_assert!(at_ms >= last_ms || at_ms <= now_ms - delay_ms, "out of order");
                            last_ms = last_ms.max(at_ms);
                            model.remove(at_ms, entry);
                        }
                        prop_assert!(model.first_ms().is_none_or(|first_ms| first_ms > now_ms));
                        prop_assert_eq!(wheel.settled_ms(), now_ms);
                    }
                    Step::Take(count, delay_ms) => {
                        now_ms += delay_ms;
                        for _ in 0..count {
                            let Some((at_ms, entry)) = wheel.pop_due(now_ms, &mut 3) else { break };
                            prop_assert!(at_ms <= now_ms);
                            model.remove(at_ms, entry);
                        }
                    }
                    Step::SetBack(delay_ms) => {
                        now_ms = now_ms.saturating_sub(delay_ms);
                        wheel.set_back(now_ms);
                    }
                    Step::Shed(delay_ms, keep) => {
                        let may_go = |entry: &u32| entry.is_multiple_of(2);
                        if let Some(from_ms) = wheel.shed(now_ms + delay_ms, keep) {
                            prop_assert!(from_ms > now_ms + delay_ms);
                            move_all(&mut wheel, |at_ms, entry| at_ms >= from_ms && may_go(entry));
                            model.forget(from_ms, may_go);
                        }
                    }
                    Step::Forget(delay_ms, divisor) => {
                        // Ready entries stay.
                        while let Some((at_ms, entry)) = next_due(&mut wheel, now_ms) {
                            model.remove(at_ms, entry);
                        }
                        let from_ms = now_ms + delay_ms;
                        let may_go = |entry: &u32| entry.is_multiple_of(divisor);
                        wheel.take_up_from(from_ms);
                        move_all(&mut wheel, |at_ms, entry| at_ms >= from_ms && may_go(entry));
                        model.forget(from_ms, may_go);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                prop_assert_eq!(wheel.next_due_ms().is_some(), model.first_ms().is_some());
                if let Some(first_ms) = model.first_ms() {
                    prop_assert!(wheel.next_due_ms().is_some_and(|due_ms| due_ms <= first_ms.max(now_ms)));
                    prop_assert!(wheel.settled_ms() < first_ms, "{} is settled, {first_ms} waits", wheel.settled_ms());
                }
            }
        }
    }

    #[test]
    fn one_millisecond_apart() {
        let mut wheel = Wheel::new(63);
        wheel.insert(4096, 'b');
        wheel.insert(4095, 'a');
        assert_eq!(next_due(&mut wheel, 4094), None);
        assert_eq!(next_due(&mut wheel, 4095), Some((4095, 'a')));
        assert_eq!(next_due(&mut wheel, 4095), None);
        assert_eq!(wheel.next_due_ms(), Some(4096));
        assert_eq!(next_due(&mut wheel, 9999), Some((4096, 'b')));
        assert!(wheel.is_empty());
    }

    #[test]
    fn at_the_end_of_time() {
        let mut wheel = Wheel::new(5);
        wheel.insert(u64::MAX, 1);
        assert_eq!(next_due(&mut wheel, 1 << 62), None);
        assert_eq!(next_due(&mut wheel, u64::MAX - 1), None);
        assert_eq!(next_due(&mut wheel, u64::MAX), Some((u64::MAX, 1)));
    }

    #[test]
    fn a_crowd_is_placed_some_at_a_time() {
        const ENTRIES: u64 = 100_000;
        const MOVES: usize = 1_000;
        // All of them in one slot. Their times differ, up to the last thousand.
        let start_ms = (1 << 40) - 1;
        let mut wheel = Wheel::new(start_ms);
        let mut entries = Crowd::default();
        (0..ENTRIES).for_each(|n| entries.push_back((start_ms + 1 + n.min(99_000), n)));
        wheel.insert_all(entries);
        let mut turns = 0;
        // What one turn may move, and what it did.
        let mut turn = |wheel: &mut Wheel<u64>| {
            turns += 1;
            let mut moves = MOVES;
            wheel.move_some(&mut moves, |_, entry| entry.is_multiple_of(2));
            MOVES - moves
        };
        while wheel.is_moving() {
            assert_eq!(turn(&mut wheel), MOVES);
        }
        assert_eq!(wheel.len() as u64, ENTRIES / 2, "the others are forgotten");
        assert_eq!(wheel.pop_due(start_ms + 1, &mut 0), None);
        assert!(wheel.is_moving(), "nothing is due before they are placed");
        wheel.set_back(start_ms - 1_000_000);
        while wheel.is_moving() {
            turn(&mut wheel);
        }
        assert_eq!(wheel.shed(start_ms, 0), Some(start_ms + 1));
        while wheel.is_moving() {
            turn(&mut wheel);
        }
        let mut numbers = Vec::new();
        while let Some((at_ms, entry)) = next_due(&mut wheel, u64::MAX) {
            assert_eq!(at_ms, start_ms + 1 + entry.min(99_000));
            numbers.push(entry);
        }
        assert!(
            numbers.iter().copied().eq((1..ENTRIES).step_by(2)),
            "in their order"
        );
        assert_eq!(turns, 100 + 50 + 50);
    }
}
