//! What is kept for a connection: the user it spoke for last, verdicts, and the check of a signature that goes on. Nothing of it is trusted longer than an edition of the
//! book, and no signature is skipped because another one was right. No text that a peer has sent is kept before its signature was right, and none longer than a name.

use super::accounts::MAX_NAME_BYTES;
use super::book::{Book, Edition};
use super::needs::Need;
use super::resource::{Actions, Kind};
use super::signature::Check;

/// Most clients use fewer resources on a connection.
pub(super) const KEPT_VERDICTS: usize = 16;

#[derive(Default)]
pub struct Visit {
    edition: Edition,
    /// Where it stands in this edition of the book; `None`: nobody has the name.
    user: Option<usize>,
    allowed: Vec<Allowed>,
    /// The place of the oldest verdict.
    oldest: usize,
    /// Of the frame in front.
    pub(super) check: Option<Box<Check>>,
    /// The frame in front has passed, in this edition, and waits for something else.
    pub(super) has_passed: bool,
    failures: Failures,
}

/// Requests in a row whose sender was not who it said, and when the next one is looked at.
#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    until_ns: u64,
}

/// What each failure adds to the pause behind it, and the longest pause. It is this connection's: a pause of the account would let a stranger lock it out.
const PAUSE_NS: u64 = 100_000_000;
const LONGEST_PAUSE_NS: u64 = 1_000_000_000;

struct Allowed {
    kind: Kind,
    any_of: Actions,
    name: Option<Box<str>>,
}

impl Visit {
    /// Where the user with this name stands in the book. A change of either forgets the verdicts.
    pub(super) fn user(&mut self, book: &Book, name: &str) -> Option<usize> {
        let user = book.find(name);
        if (self.edition, self.user) != (book.edition(), user) {
            *self = Self {
                edition: book.edition(),
                user,
                failures: self.failures,
                ..Self::default()
            };
        }
        user
    }

    /// Whether the frame in front has passed, and nothing has changed since.
    pub(super) fn passed(&self, book: &Book) -> bool {
        self.has_passed && self.edition == book.edition()
    }

    pub(super) fn is_allowed(&self, need: &Need<'_>) -> bool {
        let target = &need.target;
        self.allowed.iter().any(|kept| {
            kept.kind == target.kind
                && kept.any_of == need.any_of
                && kept.name.as_deref() == target.name
        })
    }

    /// Of a name that no topic and no group can have no verdict is kept.
    pub(super) fn keep(&mut self, need: &Need<'_>) {
        if need
            .target
            .name
            .is_some_and(|name| name.len() > MAX_NAME_BYTES)
        {
            return;
        }
        let allowed = Allowed {
            kind: need.target.kind,
            any_of: need.any_of,
            name: need.target.name.map(Box::from),
        };
        match self.allowed.get_mut(self.oldest) {
            Some(place) => *place = allowed,
            None => self.allowed.push(allowed),
        }
        self.oldest = (self.oldest + 1) % KEPT_VERDICTS;
    }

    /// The sender of the frame in front is not who it says.
    pub fn failed(&mut self, now_ns: u64) {
        let count = self.failures.count.saturating_add(1);
        let pause_ns = (u64::from(count) * PAUSE_NS).min(LONGEST_PAUSE_NS);
        let until_ns = now_ns + pause_ns;
        self.failures = Failures { count, until_ns };
    }

    pub fn succeeded(&mut self) {
        self.failures = Failures::default();
    }

    /// The pause behind a failure lasts until then. The time is asked for only behind one.
    pub fn is_slowed_until(&self, now_ns: impl FnOnce() -> u64) -> Option<u64> {
        let until_ns = self.failures.until_ns;
        (until_ns > 0 && until_ns > now_ns()).then_some(until_ns)
    }

    /// The frame in front was answered: the next one begins.
    pub fn frame_ended(&mut self) {
        self.check = None;
        self.has_passed = false;
    }

    /// Bytes of the texts that it holds.
    #[cfg(test)]
    pub fn text_bytes(&self) -> usize {
        let names = self.allowed.iter().flat_map(|kept| &kept.name);
        names.map(|name| name.len()).sum()
    }
}
