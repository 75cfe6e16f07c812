//! How often a file is rewritten as a whole. No I/O.

/// RocketMQ's own interval for consumer offsets (`flushConsumerOffsetInterval`).
const MAX_OFFSETS_INTERVAL_NS: u64 = 5_000_000_000;

/// To render and write a byte costs some 10 ns: with this pause it is 1 % of a core.
const PAUSE_NS_PER_BYTE: u64 = 1_000;

/// The pause between two saves of the offsets, after a text of this length.
pub(super) fn offsets_interval_ns(configured_ns: u64, text_bytes: u64) -> u64 {
    let paced_ns = text_bytes.saturating_mul(PAUSE_NS_PER_BYTE);
    paced_ns.min(MAX_OFFSETS_INTERVAL_NS).max(configured_ns)
}

/// The shortest and the longest time until a change of a topic or group is in RocketMQ's file.
const FOLD_MIN_NS: u64 = 2_000_000_000;
const FOLD_MAX_NS: u64 = 60_000_000_000;
const FOLD_NS_PER_ENTRY: u64 = 1_000_000;

/// A change file that is longer than this, and than the file that it is folded into, is folded at once.
const FOLD_BYTES: u64 = 4 << 20;

/// When the change files are folded into the JSON files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FoldTimer {
    first_change_ns: Option<u64>,
    bytes: u64,
    /// A fold failed: not before this.
    not_before_ns: u64,
}

impl FoldTimer {
    pub fn changed(&mut self, bytes: u64, now_ns: u64) {
        self.first_change_ns.get_or_insert(now_ns);
        self.bytes += bytes;
    }

    /// Nothing has changed since the last fold began.
    pub fn is_clean(&self) -> bool {
        self.first_change_ns.is_none()
    }

    pub fn begun(&mut self) {
        *self = Self::default();
    }

    pub fn failed(&mut self, now_ns: u64, retry_ns: u64) {
        self.first_change_ns.get_or_insert(now_ns);
        self.not_before_ns = now_ns + retry_ns;
    }

    /// `entries` topics and groups are to be written, in `text_bytes` the last time.
    pub fn due_ns(&self, entries: usize, text_bytes: u64) -> Option<u64> {
        let first_ns = self.first_change_ns?;
        let paced_ns = (entries as u64).saturating_mul(FOLD_NS_PER_ENTRY);
        let due_ns = match self.bytes > FOLD_BYTES.max(text_bytes) {
            true => first_ns,
            false => first_ns + paced_ns.clamp(FOLD_MIN_NS, FOLD_MAX_NS),
        };
        Some(due_ns.max(self.not_before_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn offsets_are_saved_less_often_the_more_there_are() {
        assert_eq!(offsets_interval_ns(SECOND, 0), SECOND);
        assert_eq!(offsets_interval_ns(SECOND, 2_000_000), 2 * SECOND);
        assert_eq!(offsets_interval_ns(SECOND, u64::MAX), 5 * SECOND);
        assert_eq!(offsets_interval_ns(10 * SECOND, u64::MAX), 10 * SECOND);
    }

    #[test]
    fn what_changes_all_the_time_is_folded_all_the_same() {
        let mut timer = FoldTimer::default();
        assert_eq!(timer.due_ns(9, 9), None);
        timer.changed(100, SECOND);
        timer.changed(100, 2 * SECOND);
        assert_eq!(timer.due_ns(9, 9), Some(3 * SECOND));
        assert_eq!(timer.due_ns(10_000, 9), Some(11 * SECOND));
        assert_eq!(timer.due_ns(usize::MAX, 9), Some(61 * SECOND));
        timer.changed(FOLD_BYTES, 2 * SECOND);
        assert_eq!(timer.due_ns(10_000, 9), Some(SECOND), "too long");
        assert_eq!(timer.due_ns(10_000, 2 * FOLD_BYTES), Some(11 * SECOND));
        timer.begun();
        assert_eq!(timer.due_ns(9, 9), None);
        timer.failed(20 * SECOND, 30 * SECOND);
        assert_eq!(timer.due_ns(9, 9), Some(50 * SECOND));
    }
}
