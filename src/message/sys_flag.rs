//! Bits of a record's `sysFlag` (RocketMQ: `MessageSysFlag`).

pub const COMPRESSED: i32 = 1;
pub const MULTI_TAGS: i32 = 1 << 1;
pub const TRANSACTION_MASK: i32 = 3 << 2;
pub const TRANSACTION_NONE: i32 = 0;
pub const TRANSACTION_PREPARED: i32 = 1 << 2;
pub const TRANSACTION_COMMIT: i32 = 2 << 2;
pub const TRANSACTION_ROLLBACK: i32 = 3 << 2;
pub const BORN_HOST_V6: i32 = 1 << 4;
pub const STORE_HOST_V6: i32 = 1 << 5;
pub const NEED_UNWRAP: i32 = 1 << 6;
pub const INNER_BATCH: i32 = 1 << 7;
pub const COMPRESSION_MASK: i32 = 7 << 8;
pub const COMPRESSION_LZ4: i32 = 1 << 8;
pub const COMPRESSION_ZSTD: i32 = 2 << 8;
pub const COMPRESSION_ZLIB: i32 = 3 << 8;

/// The transaction bits, in place.
pub fn transaction(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// The same flag with other transaction bits.
pub fn with_transaction(sys_flag: i32, transaction: i32) -> i32 {
    (sys_flag & !TRANSACTION_MASK) | (transaction & TRANSACTION_MASK)
}

/// Whether a record with this flag appears in its ConsumeQueue: prepared and rolled back ones do not, and their
/// `queueOffset` is 0 (RocketMQ: `DefaultAppendMessageCallback.doAppend`).
pub fn is_consumable(sys_flag: i32) -> bool {
    matches!(transaction(sys_flag), TRANSACTION_NONE | TRANSACTION_COMMIT)
}
