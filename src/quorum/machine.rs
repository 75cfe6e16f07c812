//! The agreed state as the engine wants it: entries are applied to it, and its snapshot is one small file.
//!
//! ```text
//! snapshot:  0   8 magic   "ringmqQ1"
//!            8   4 length  of the meta data
//!           12   4 crc32   of the meta data
//!           16   n meta    up to which entry, and the controllers' addresses, as JSON
//!       16 + n   m state   `controller::snapshot`, which has a CRC of its own
//! ```

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};

use super::types::{Entry, LogId, Membership, SnapshotMeta, StorageError, Types};
use super::whole_file::replace;
use crate::controller::{Agreed, Applied, snapshot};

const NAME: &str = "snapshot";
const MAGIC: &[u8; 8] = b"ringmqQ1";
const HEAD_BYTES: usize = 16;

#[derive(Clone, Debug)]
pub struct Machine {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub struct State {
    pub agreed: Agreed,
    pub applied: Option<LogId>,
    membership: Membership,
    /// The last snapshot: its meta data and the bytes of the state.
    snapshot: Option<(SnapshotMeta, Vec<u8>)>,
}

impl Machine {
    /// Starts with the snapshot of a directory, if it has one.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        let mut state = State::default();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let wrong =
                    |error: String| io::Error::other(format!("{}: {error}", path.display()));
                let (meta, bytes) = decode(&bytes).map_err(wrong)?;
                state.install(meta, bytes).map_err(wrong)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            dir: dir.to_owned(),
            state: Arc::new(Mutex::new(state)),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<(), Box<StorageError>> {
        replace(&self.dir, NAME, &encode(meta, bytes)).map_err(|error| {
            tracing::error!(%error, "the snapshot cannot be written; this controller stops");
            Box::new(StorageIOError::write_snapshot(Some(meta.signature()), &error).into())
        })
    }
}

impl State {
    fn install(&mut self, meta: SnapshotMeta, bytes: Vec<u8>) -> Result<(), String> {
        self.agreed = snapshot::decode(&bytes).map_err(|error| error.to_string())?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.snapshot = Some((meta, bytes));
        Ok(())
    }

    fn apply(&mut self, entry: Entry) -> Option<Applied> {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(command) => Some(self.agreed.apply(&command)),
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
                None
            }
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<Applied>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state();
        Ok(entries
            .into_iter()
            .map(|entry| state.apply(entry))
            .collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        received: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = received.into_inner();
        let mut installed = State::default();
        installed.install(meta.clone(), bytes.clone()).map_err(|error| {
            tracing::error!(%error, "the leader's snapshot cannot be read; this controller stops");
            StorageIOError::read_snapshot(Some(meta.signature()), &io::Error::other(error))
        })?;
        // First the file: the log that led up to it is removed afterwards.
        self.save(meta, &bytes).map_err(|error| *error)?;
        *self.state() = installed;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let current = self.state().snapshot.clone();
        Ok(current.map(|(meta, bytes)| Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(bytes)),
        }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let (meta, bytes) = {
            let state = self.state();
            let upto = state
                .applied
                .map_or_else(|| "none".to_owned(), |id| id.to_string());
            let meta = SnapshotMeta {
                last_log_id: state.applied,
                last_membership: state.membership.clone(),
                snapshot_id: upto,
            };
            (meta, snapshot::encode(&state.agreed))
        };
        self.save(&meta, &bytes).map_err(|error| *error)?;
        self.state().snapshot = Some((meta.clone(), bytes.clone()));
        Ok(Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(bytes)),
        })
    }
}

fn encode(meta: &SnapshotMeta, state: &[u8]) -> Vec<u8> {
    let meta = serde_json::to_vec(meta).expect("numbers and lists");
    let length = u32::try_from(meta.len()).expect("a few numbers");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&meta).to_be_bytes());
    bytes.extend_from_slice(&meta);
    bytes.extend_from_slice(state);
    bytes
}

fn decode(bytes: &[u8]) -> Result<(SnapshotMeta, Vec<u8>), String> {
    let cut = || format!("a snapshot of {} bytes", bytes.len());
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(cut)?;
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if !head.starts_with(MAGIC) {
        return Err("no snapshot of a controller".to_owned());
    }
    let (meta, state) = rest.split_at_checked(number(8) as usize).ok_or_else(cut)?;
    if crc32fast::hash(meta) != number(12) {
        return Err("the CRC of the snapshot's meta data is wrong".to_owned());
    }
    let meta = serde_json::from_slice(meta).map_err(|error| error.to_string())?;
    Ok((meta, state.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::CommittedLeaderId;

    #[test]
    fn a_damaged_snapshot_is_not_read() {
        let meta = SnapshotMeta {
            last_log_id: Some(LogId::new(CommittedLeaderId::new(3, 1), 7)),
            ..SnapshotMeta::default()
        };
        let bytes = encode(&meta, &snapshot::encode(&Agreed::default()));
        let read = |bytes: &[u8]| {
            let (meta, state) = decode(bytes)?;
            State::default().install(meta, state)
        };
        assert_eq!(read(&bytes), Ok(()));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(read(&bad).is_err(), "byte {at}");
            assert!(read(&bytes[..at]).is_err());
        }
    }
}
