//! What happened, as a hash of all of it and the text of the last of it.

use std::collections::VecDeque;
use std::fmt::Write;

/// How much of the past a failure shows.
const RECENT: usize = 40;

#[derive(Default)]
pub(super) struct Trace {
    hash: u64,
    recent: VecDeque<(u64, &'static str, [u64; 3])>,
}

impl Trace {
    pub fn note(&mut self, now_ns: u64, what: &'static str, values: [u64; 3]) {
        self.mix(now_ns);
        what.bytes().for_each(|byte| self.mix(byte.into()));
        values.into_iter().for_each(|value| self.mix(value));
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now_ns, what, values));
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn recent(&self) -> String {
        let mut text = String::new();
        for (now_ns, what, [a, b, c]) in &self.recent {
            let _ = writeln!(text, "{now_ns:>16} {what} {a} {b} {c}");
        }
        text
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
