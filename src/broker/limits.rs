//! Bounds of everything that a client can make grow, in one place.

/// Groups and subscriptions in one client's heartbeat. A heartbeat is handled in one turn.
pub const MAX_SUBSCRIPTIONS: usize = 4096;

/// Bytes of one heartbeat's body: it is decoded in one turn.
pub const MAX_HEARTBEAT_BYTES: usize = 2 << 20;

/// Members of a group that are notified of a change in the turn of the change. Larger groups are notified by
/// [`super::notices`].
pub const NOTIFIED_AT_ONCE: usize = 64;

/// Members of larger groups that are notified in one turn.
pub const NOTIFIED_PER_TURN: usize = 512;

/// Connections whose heartbeats are examined in one turn.
pub const EXPIRED_PER_TURN: usize = 1024;
