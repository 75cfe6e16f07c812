//! Bounds of everything that a client can make grow, in one place.

/// Groups and subscriptions in one client's heartbeat. A heartbeat is handled in one turn.
pub const MAX_SUBSCRIPTIONS: usize = 4096;

/// Bytes of one heartbeat's body: it is decoded in one turn.
pub const MAX_HEARTBEAT_BYTES: usize = 2 << 20;

/// Members of a group that are notified of a change in the turn of the change. Larger groups are notified by
/// `super::notices`.
pub const NOTIFIED_AT_ONCE: usize = 64;

/// Members of larger groups that are notified in one turn.
pub const NOTIFIED_PER_TURN: usize = 512;

/// Connections whose heartbeats are examined in one turn.
pub const EXPIRED_PER_TURN: usize = 1024;

/// Queues of one topic, to read or to write.
pub const MAX_QUEUES: i32 = 65_536;

/// Rows of an answer that are made in one turn.
pub const ROWS_PER_TURN: usize = 256;

/// Store times that one answer reads from disk; those beyond are shown as unknown.
pub const MAX_COLD_TIMES: usize = 4096;

/// Bytes of a reply's body. Java clients close the connection at a frame of more than 16 MiB.
pub const MAX_REPLY_BYTES: usize = 15 << 20;

/// Locks of queues that are held at a time.
pub const MAX_LOCKS: usize = 1 << 18;

/// Locks and pops in order that are examined for their expiry in one turn.
pub const EXAMINED_PER_TURN: usize = 1024;

/// Entries of a queue in one answer to 321: about 100 bytes each, encoded in one turn.
pub const MAX_ENTRIES: usize = 8_192;

/// Bytes of the newest log within which a queue's first message is recent: a new group starts with it.
pub const RECENT_BYTES: u64 = 1 << 30;
