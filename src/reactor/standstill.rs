//! Whether this process has run: one that was stopped (SIGSTOP, a paused machine) has deadlines behind it and completions before it.

/// If a task that runs every 100 ms did not run for so long, the process stood still.
const LONGEST_GAP_NS: u64 = 1_000_000_000;

/// Is given the time of every tick.
pub struct Standstill {
    last_ns: u64,
}

impl Standstill {
    pub fn new(now_ns: u64) -> Self {
        Standstill { last_ns: now_ns }
    }

    /// Whether the process stood still before this tick. What the disk and the clients did meanwhile is then taken first, and
    /// what seems overdue is looked at again in the next tick.
    pub fn was_before(&mut self, now_ns: u64) -> bool {
        let last_ns = std::mem::replace(&mut self.last_ns, now_ns);
        now_ns.saturating_sub(last_ns) > LONGEST_GAP_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_puts_one_tick_off() {
        const MS: u64 = 1_000_000;
        let mut standstill = Standstill::new(0);
        assert!(!standstill.was_before(100 * MS));
        assert!(!standstill.was_before(900 * MS), "a slow machine");
        assert!(standstill.was_before(5_900 * MS));
        assert!(!standstill.was_before(6_000 * MS));
    }
}
