//! Runs of timers (`timers/runs.rs`): whole entries, in their order, within the log.

use super::{Check, Listener};
use crate::io::Io;
use crate::store::StoreError;
use crate::store::timers::runs::{ENTRY_BYTES, Timer};

/// Read at a time.
const READ_ENTRIES: usize = 16 << 10;

impl<I: Io, L: Listener> Check<'_, I, L> {
    pub(super) async fn check_timers(&mut self) -> Result<(), StoreError> {
        let dir = self.subject.dir.join("timers");
        let files = self.io.list(&dir).await?;
        for file in files {
            let (mut at, mut last) = (0, None);
            if !file.len_bytes.is_multiple_of(ENTRY_BYTES as u64) {
                let found = format!("{} bytes", file.len_bytes);
                self.damage(&file.path, file.len_bytes, found, "entries of 24 bytes");
            }
            loop {
                let bytes = self
                    .part(&file.path, at, READ_ENTRIES * ENTRY_BYTES)
                    .await?;
                let entries = bytes.as_chunks::<ENTRY_BYTES>().0;
                if entries.is_empty() {
                    break;
                }
                for bytes in entries {
                    let timer = Timer::decode(bytes);
                    let end =
                        timer.map(|timer| timer.physical_offset.saturating_add(timer.size.into()));
                    if timer.is_none() || timer < last || end > Some(self.report.log_end) {
                        let expected =
                            "a timer of a message in the log, not before the one ahead of it";
                        self.damage(&file.path, at, format!("{timer:?}"), expected);
                    }
                    last = timer.or(last);
                    at += ENTRY_BYTES as u64;
                    self.report.timers += 1;
                }
            }
        }
        Ok(())
    }
}
