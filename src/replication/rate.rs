//! Bytes per second, of the last whole second.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    second: u64,
    bytes: u64,
    /// Of the second before.
    last: u64,
}

impl Rate {
    /// So many bytes went at this time.
    pub fn add(&mut self, bytes: u64, now_ns: u64) {
        self.turn_to(now_ns / 1_000_000_000);
        self.bytes += bytes;
    }

    pub fn per_second(mut self, now_ns: u64) -> u64 {
        self.turn_to(now_ns / 1_000_000_000);
        self.last
    }

    fn turn_to(&mut self, second: u64) {
        if second == self.second {
            return;
        }
        self.last = if second == self.second + 1 {
            self.bytes
        } else {
            0
        };
        (self.second, self.bytes) = (second, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_second_counts() {
        const S: u64 = 1_000_000_000;
        let mut rate = Rate::default();
        rate.add(5, 10 * S);
        rate.add(7, 11 * S - 1);
        assert_eq!(rate.per_second(11 * S - 1), 0);
        assert_eq!(rate.per_second(11 * S), 12);
        rate.add(1, 11 * S);
        assert_eq!(rate.per_second(11 * S), 12);
        assert_eq!(rate.per_second(13 * S), 0, "nothing came for a second");
    }
}
