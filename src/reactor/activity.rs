//! When a connection was active last, and since when it makes no headway in either direction.

use std::cell::Cell;

/// RocketMQ's clients give up after this time: the answer to a request that takes longer to arrive is not awaited.
const REQUEST_HINDERS_NS: u64 = 3_000_000_000;

/// Nothing of it came for so long.
const REQUEST_STOPS_NS: u64 = 500_000_000;

/// The kernel took nothing of a reply for so long, with a socket buffer of its own in between.
const REPLY_HINDERS_NS: u64 = 1_000_000_000;

/// What one direction of a connection does. Both are independent: a client may send a request while it does not read a reply.
#[derive(Clone, Copy, Default)]
enum Direction {
    #[default]
    Idle,
    Busy {
        since_ns: u64,
    },
}

impl Direction {
    fn is_busy_longer_than(self, limit_ns: u64, now_ns: u64) -> bool {
        match self {
            Self::Idle => false,
            Self::Busy { since_ns } => now_ns.saturating_sub(since_ns) > limit_ns,
        }
    }
}

pub struct Activity {
    /// Something was received, or sent whole.
    last_ns: Cell<u64>,
    /// Something was received: what is offered now has come by then.
    received_ns: Cell<u64>,
    /// The kernel has replies that it did not send yet.
    sending: Cell<Direction>,
    /// A request is being received that memory is reserved for.
    receiving: Cell<Direction>,
}

impl Activity {
    pub fn new(now_ns: u64) -> Self {
        Activity {
            last_ns: Cell::new(now_ns),
            received_ns: Cell::new(now_ns),
            sending: Cell::default(),
            receiving: Cell::default(),
        }
    }

    pub fn received(&self, now_ns: u64) {
        self.last_ns.set(now_ns);
        self.received_ns.set(now_ns);
    }

    /// When something was received last.
    pub fn received_ns(&self) -> u64 {
        self.received_ns.get()
    }

    pub fn send_begins(&self, now_ns: u64) {
        self.sending.set(Direction::Busy { since_ns: now_ns });
    }

    pub fn send_ended(&self, now_ns: u64) {
        self.sending.set(Direction::Idle);
        self.last_ns.set(now_ns);
    }

    /// A large request is received from now on.
    pub fn large_request_begins(&self, now_ns: u64) {
        self.receiving.set(Direction::Busy { since_ns: now_ns });
    }

    pub fn large_request_ended(&self) {
        self.receiving.set(Direction::Idle);
    }

    pub fn is_idle(&self, now_ns: u64, max_idle_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns.get()) > max_idle_ns
    }

    /// A large request takes so long, or has stopped for so long, that others need not wait for its memory.
    pub fn hinders_requests(&self, now_ns: u64) -> bool {
        let receiving = self.receiving.get();
        let has_stopped = now_ns.saturating_sub(self.last_ns.get()) > REQUEST_STOPS_NS;
        receiving.is_busy_longer_than(REQUEST_HINDERS_NS, now_ns)
            || has_stopped && receiving.is_busy_longer_than(REQUEST_STOPS_NS, now_ns)
    }

    /// The client does not read, so that others need not wait for the memory of its replies.
    pub fn hinders_replies(&self, now_ns: u64) -> bool {
        let sending = self.sending.get();
        sending.is_busy_longer_than(REPLY_HINDERS_NS, now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_hinders_when_it_stops_or_takes_too_long() {
        let activity = Activity::new(0);
        assert!(!activity.hinders_requests(u64::MAX), "none is received");
        activity.large_request_begins(10);
        assert!(!activity.hinders_requests(10 + REQUEST_STOPS_NS));
        assert!(activity.hinders_requests(11 + REQUEST_STOPS_NS));
        activity.received(5 + REQUEST_HINDERS_NS);
        assert!(!activity.hinders_requests(10 + REQUEST_HINDERS_NS));
        assert!(activity.hinders_requests(11 + REQUEST_HINDERS_NS));
        activity.large_request_ended();
        assert!(!activity.hinders_requests(u64::MAX));
    }

    #[test]
    fn a_reply_hinders_while_the_kernel_has_it() {
        let activity = Activity::new(0);
        activity.send_begins(10);
        assert!(!activity.hinders_replies(10 + REPLY_HINDERS_NS));
        assert!(activity.hinders_replies(11 + REPLY_HINDERS_NS));
        activity.send_ended(20 + REPLY_HINDERS_NS);
        assert!(!activity.hinders_replies(u64::MAX));
        assert!(!activity.is_idle(20 + REPLY_HINDERS_NS + 5, 5));
        assert!(activity.is_idle(21 + REPLY_HINDERS_NS + 5, 5));
    }
}
