//! Whether a pull that finds nothing is parked, and until when.

/// What becomes of a pull that finds nothing.
///
/// ```text
///   First -- parked --> Parked -- deadline --> Last
///     ^                   |
///     +-- other filter ---+          any -- offsets reset --> Reset
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The request has come: the pull is parked for this long.
    First { hold_ms: u64 },
    /// The pull was parked, and is parked again until the deadline.
    Parked { hold_ms: u64, deadline_ns: u64 },
    /// The pull is answered in any case: its request does not suspend, it cannot be parked, or its deadline has passed.
    Last,
    /// An administrator has reset the group's offset: the answer is the new one, whatever the queue has.
    Reset { offset: i64 },
}

impl Attempt {
    pub(super) fn may_park(self) -> bool {
        matches!(self, Self::First { .. } | Self::Parked { .. })
    }

    /// The next attempt, of a pull that is parked now.
    pub(super) fn parked(self, now_ns: u64) -> Self {
        match self {
            Self::First { hold_ms } => Self::Parked {
                hold_ms,
                deadline_ns: now_ns.saturating_add(hold_ms.saturating_mul(1_000_000)),
            },
            Self::Parked { .. } | Self::Last | Self::Reset { .. } => self,
        }
    }

    /// Until when the pull is parked, if it may be.
    pub(super) fn deadline_ns(self) -> Option<u64> {
        match self {
            Self::Parked { deadline_ns, .. } => Some(deadline_ns),
            Self::First { .. } | Self::Last | Self::Reset { .. } => None,
        }
    }

    pub(super) fn begun_again(self) -> Self {
        match self {
            Self::Parked { hold_ms, .. } => Self::First { hold_ms },
            Self::First { .. } | Self::Last | Self::Reset { .. } => self,
        }
    }

    pub(super) fn without_hold(self) -> Self {
        match self {
            Self::First { .. } | Self::Parked { .. } | Self::Last => Self::Last,
            Self::Reset { .. } => self,
        }
    }
}
