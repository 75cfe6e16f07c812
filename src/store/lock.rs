//! The locks of a store, held as long as it is open: the file `lock` as RocketMQ has it (`DefaultMessageStore.start`), and the
//! directory of the log, which two stores with different roots may have been given (`storePathCommitLog`).
//!
//! A killed process holds them until its last write has reached the device, so they are waited for: a record that lands
//! after the next process has appended at its place would overwrite an acknowledged message.

use std::io;
use std::path::Path;

use tracing::warn;

use super::medium::Medium;
use super::{StoreConfig, StoreError};
use crate::io::Io;

/// A stalled disk holds a write for seconds; a broker that is alive holds its locks for good.
const PATIENCE_NS: u64 = 10_000_000_000;
const RETRY_NS: u64 = 50_000_000;

/// Dropped together. Without the mutant there are both.
pub(super) type Locks<I> = Vec<<I as crate::io::Disk>::Lock>;

pub(super) async fn lock<I: Io>(
    io: &Medium<I>,
    config: &StoreConfig,
) -> Result<Locks<I>, StoreError> {
    let (dir, log_dir) = (config.dir.clone(), config.commit_log_dir());
    make_dir(io, &dir).await?;
    let root = hold(io, &dir, || io.lock(&dir.join("lock"), "lock")).await?;
    make_dir(io, &log_dir).await?;
    let log = hold(io, &log_dir, || io.lock_dir(&log_dir)).await?;
    Ok(root.into_iter().chain(log).collect())
}

async fn make_dir<I: Io>(io: &Medium<I>, dir: &Path) -> Result<(), StoreError> {
    io.create_dir_all(dir)
        .await
        .map_err(StoreError::not_writable(dir))
}

async fn hold<I: Io, L>(
    io: &Medium<I>,
    dir: &Path,
    lock: impl Fn() -> Result<L, StoreError>,
) -> Result<Option<L>, StoreError> {
    let until_ns = io.now().mono_ns + PATIENCE_NS;
    let mut has_warned = false;
    loop {
        match lock() {
            Ok(held) => return Ok(Some(held)),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(StoreError::not_writable(dir)(error));
            }
            Err(_) if mutant!(LockNotAwaited) => return Ok(None),
            Err(_) if io.now().mono_ns >= until_ns => {
                return Err(StoreError::InUse {
                    dir: dir.to_owned(),
                });
            }
            Err(_) => {}
        }
        if !std::mem::replace(&mut has_warned, true) {
            warn!(
                dir = %dir.display(),
                "the store is locked, by another process or by writes of one that was killed; trying again for {} s",
                PATIENCE_NS / 1_000_000_000
            );
        }
        io.sleep_until(io.now().mono_ns + RETRY_NS).await;
    }
}
