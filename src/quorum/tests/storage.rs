//! The engine's own suite for what it stores in.

use openraft::testing::{StoreBuilder, Suite};

use crate::quorum::log_store::LogStore;
use crate::quorum::machine::Machine;
use crate::quorum::types::{StorageError, Types};

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::open(dir.path()).unwrap();
        let machine = Machine::open(dir.path()).unwrap();
        Ok((dir, log, machine))
    }
}

#[test]
fn the_engines_suite_passes() {
    Suite::test_all(Builder).unwrap();
}
