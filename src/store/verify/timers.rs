//! Runs of timers (`timers/runs.rs`): whole entries, in their order, within the log, and as their seals say.

use std::path::Path;

use super::{Check, Listener};
use crate::io::Io;
use crate::store::StoreError;
use crate::store::timers::entries::{
    BLOCK_BYTES, BLOCK_ENTRIES, ENTRY_BYTES, Timer, blocks, decode_seal, timers_of,
};

/// Read at a time.
const READ_ENTRIES: usize = 32 * BLOCK_ENTRIES;

impl<I: Io, L: Listener> Check<'_, I, L> {
    pub(super) async fn check_timers(&mut self) -> Result<(), StoreError> {
        let dir = self.subject.dir.join("timers");
        let files = self.io.list(&dir).await?;
        for file in files {
            if !file.len_bytes.is_multiple_of(ENTRY_BYTES as u64) {
                let found = format!("{} bytes", file.len_bytes);
                self.damage(&file.path, file.len_bytes, found, "entries of 24 bytes");
            }
            self.check_run(&file.path, file.len_bytes / ENTRY_BYTES as u64)
                .await?;
        }
        Ok(())
    }

    async fn check_run(&mut self, path: &Path, entries: u64) -> Result<(), StoreError> {
        let last_at = entries.saturating_sub(1) * ENTRY_BYTES as u64;
        let last = self.part(path, last_at, ENTRY_BYTES).await?;
        let Some(last) = last.first_chunk() else {
            return Ok(());
        };
        let timers = timers_of(entries, last);
        let seals = blocks(timers).min(entries - timers) as usize * ENTRY_BYTES;
        let seals = self.part(path, timers * ENTRY_BYTES as u64, seals).await?;
        let mut seals = (0..).zip(seals.as_chunks().0);
        let (mut first, mut last) = (0, None);
        while first < timers {
            let count = (timers - first).min(READ_ENTRIES as u64) as usize;
            let at = first * ENTRY_BYTES as u64;
            let bytes = self.part(path, at, count * ENTRY_BYTES).await?;
            if bytes.len() < count * ENTRY_BYTES {
                break;
            }
            for (nth, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                let at = at + (nth * BLOCK_BYTES) as u64;
                last = self.check_block(path, at, block, last);
                if let Some((number, seal)) = seals.next()
                    && decode_seal(number, seal) != Some(crc32fast::hash(block))
                {
                    let found = "another checksum".to_owned();
                    self.damage(path, at, found, "512 timers as they were written");
                }
            }
            first += count as u64;
        }
        Ok(())
    }

    /// The last of its timers.
    fn check_block(
        &mut self,
        path: &Path,
        mut at: u64,
        block: &[u8],
        mut last: Option<Timer>,
    ) -> Option<Timer> {
        for bytes in block.as_chunks::<ENTRY_BYTES>().0 {
            let timer = Timer::decode(bytes);
            let end = timer.map(|timer| timer.physical_offset.saturating_add(timer.size.into()));
            if timer.is_none() || timer < last || end > Some(self.report.log_end) {
                let expected = "a timer of a message in the log, not before the one ahead of it";
                self.damage(path, at, format!("{timer:?}"), expected);
            }
            last = timer.or(last);
            at += ENTRY_BYTES as u64;
            self.report.timers += 1;
        }
        last
    }
}
