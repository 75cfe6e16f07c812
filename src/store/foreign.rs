//! Data that RocketMQ may keep outside the files of its default store. This broker would start without it, so such a store
//! is refused with a remedy, and nothing in it is changed.
//!
//! Sources: `StorePathConfigHelper`, `ConfigStorage`, `RocksDBConfigManager`, `PopConsumerService`, `DLedgerCommitLog`,
//! `RocksDBConsumeQueueStore`, `CompactionStore`, `MessageRocksDBStorage`.

use std::path::Path;

use super::StoreError;
use super::medium::Medium;
use crate::io::{DirEntry, Io};

/// A folder of the store, which files in it count, what they are, and what to do.
struct Foreign {
    dir: &'static str,
    counts: fn(&DirEntry) -> bool,
    what: &'static str,
    remedy: &'static str,
}

const FOREIGN: &[Foreign] = &[
    Foreign {
        dir: "config/topics",
        counts: is_there,
        what: "RocketMQ's topics are in RocksDB (enableRocksDBStore or realTimePersistRocksDBConfig)",
        remedy: "write them as JSON with mqadmin rocksDBConfigToJson, then remove the folder",
    },
    Foreign {
        dir: "config/subscriptionGroups",
        counts: is_there,
        what: "RocketMQ's groups are in RocksDB",
        remedy: "write them as JSON with mqadmin rocksDBConfigToJson, then remove the folder",
    },
    Foreign {
        dir: "config/consumerOffsets",
        counts: is_there,
        what: "RocketMQ's consumer offsets are in RocksDB",
        remedy: "write them as JSON with mqadmin rocksDBConfigToJson, then remove the folder",
    },
    Foreign {
        dir: "config/rdb",
        counts: is_there,
        what: "RocketMQ's topics, groups and offsets are in RocksDB (configManagerVersion=v2)",
        remedy: "write them as JSON with mqadmin rocksDBConfigToJson, then remove the folder",
    },
    Foreign {
        dir: "kvStore",
        counts: holds_data,
        what: "RocketMQ keeps popped messages in RocksDB (popConsumerKVServiceEnable)",
        remedy: "let RocketMQ finish them, turn it off there and remove the folder",
    },
    Foreign {
        dir: "rocksdbstore",
        counts: holds_data,
        what: "RocketMQ keeps timers, transactions or its key index in RocksDB (timerRocksDBEnable, transRocksDBEnable, indexRocksDBEnable)",
        remedy: "turn these off in RocketMQ, let it deliver what is there, and remove the folder",
    },
    Foreign {
        dir: "consumequeue",
        counts: is_rocksdb,
        what: "the ConsumeQueues are in RocksDB (storeType=defaultRocksDB)",
        remedy: "remove consumequeue and checkpoint: they are made again from the log",
    },
    Foreign {
        dir: "consumequeue_r",
        counts: is_rocksdb,
        what: "the ConsumeQueues are in RocksDB too (combineCQEnable)",
        remedy: "have RocketMQ use the files (storeType=default), and remove consumequeue_r",
    },
    Foreign {
        dir: "consumequeue_ext",
        counts: is_there,
        what: "the ConsumeQueues point into consumequeue_ext (enableConsumeQueueExt)",
        remedy: "remove consumequeue, consumequeue_ext and checkpoint: they are made again from the log",
    },
    Foreign {
        dir: "compaction",
        counts: is_compacted,
        what: "there are topics that are compacted (cleanup.policy=COMPACTION), which are not supported",
        remedy: "delete these topics in RocketMQ",
    },
];

/// RocketMQ with DLedger names its log's folder after its place in the group.
const DLEDGER_PREFIX: &str = "dledger-";

/// Refuses a store that is kept in a way which this one does not read.
pub async fn refuse_foreign<I: Io>(io: &Medium<I>, store_dir: &Path) -> Result<(), StoreError> {
    for entry in io.list(store_dir).await? {
        let name = entry.path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(DLEDGER_PREFIX)) {
            return Err(StoreError::Foreign {
                path: entry.path,
                what: "RocketMQ's log is DLedger's (enableDLegerCommitLog), whose files are others",
                remedy: "copy the messages to a new store",
            });
        }
    }
    for foreign in FOREIGN {
        let path = store_dir.join(foreign.dir);
        if io.list(&path).await?.iter().any(foreign.counts) {
            return Err(StoreError::Foreign {
                path,
                what: foreign.what,
                remedy: foreign.remedy,
            });
        }
    }
    Ok(())
}

fn is_there(_: &DirEntry) -> bool {
    true
}

/// RocketMQ leaves its positions at every clean stop, also of no topic.
fn is_compacted(entry: &DirEntry) -> bool {
    let name = entry.path.file_name();
    name.is_some_and(|name| name != "position-checkpoint" && name != "position-checkpoint.bak")
}

fn is_rocksdb(entry: &DirEntry) -> bool {
    entry.path.file_name().is_some_and(|name| name == "CURRENT")
}

/// RocketMQ makes some of its RocksDBs in any case; what is written to one is in its log first, and then in tables.
fn holds_data(entry: &DirEntry) -> bool {
    let extension = entry
        .path
        .extension()
        .and_then(|extension| extension.to_str());
    match extension {
        Some("sst") => true,
        Some("log") => entry.len_bytes > 0,
        _ => false,
    }
}
