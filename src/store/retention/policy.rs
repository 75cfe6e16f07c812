//! Which files of the log have had their time, and whether there is room for more messages. Decisions only;
//! `cleaning.rs` carries them out (RocketMQ: `DefaultMessageStore.CleanCommitLogService`).
//!
//! | The disk is used | what goes |
//! |---|---|
//! | whatever | at the hours of `deleteWhen`: files whose newest message is older than `fileReservedTime`; at any time: what exceeds `commitLogMaxBytes` |
//! | > `diskMaxUsedSpaceRatio` | expired files at any hour |
//! | > `diskSpaceCleanForciblyRatio` | the spare file, then the oldest files whatever their age, as many as it takes |
//! | > `diskSpaceWarningLevelRatio` | the same, and sends are refused |
//! | so that the log's next file cannot be made | the oldest file, to become the next one |
//!
//! RocketMQ goes by the time a file was last modified, which copying or recovery changes; here it is the store time of
//! its last message. RocketMQ takes ten files at once when it is forced to; here only what brings the disk below the ratio.

use crate::io::Space;

/// Files removed in one round, as in RocketMQ (`deleteFileBatchMax`).
pub(in crate::store) const MAX_FILES: usize = 10;

/// How long messages are kept. Some of it may change while the store is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `fileReservedTime`
    pub reserved_ms: u64,
    /// Hours of the day, in local time (`deleteWhen`).
    pub delete_hours: Vec<u8>,
    /// `diskMaxUsedSpaceRatio`
    pub max_used_percent: u8,
    /// `diskSpaceCleanForciblyRatio`
    pub forcible_percent: u8,
    /// `diskSpaceWarningLevelRatio`
    pub warning_percent: u8,
    /// Messages may go before their time when the disk is full (`cleanFileForciblyEnable`).
    pub clean_forcibly: bool,
    /// Upper bound of the log. 0: none.
    pub max_log_bytes: u64,
    /// `cleanResourceInterval`
    pub interval_ms: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            reserved_ms: 72 * 3_600_000,
            delete_hours: vec![4],
            max_used_percent: 75,
            forcible_percent: 85,
            warning_percent: 90,
            clean_forcibly: true,
            max_log_bytes: 0,
            interval_ms: 10_000,
        }
    }
}

/// What a round finds.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Look {
    pub now_ms: i64,
    /// Of the day, in local time.
    pub hour: u8,
    pub space: Space,
    pub segment_bytes: u64,
    /// Of all files.
    pub log_bytes: u64,
    /// For each file that may go, the oldest first: store time of its last message, if that is known.
    pub newest_ms: Vec<Option<i64>>,
    pub has_spare: bool,
    /// The log's next file could not be made for lack of space.
    pub needs_file: bool,
    /// Something else could not be written for lack of space.
    pub is_out_of_space: bool,
    /// An administrator has asked for expired files to be removed now.
    pub is_asked_for: bool,
}

/// What a round is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Round {
    pub drop_spare: bool,
    /// So many of the oldest files go.
    pub remove: usize,
    /// So many of these hold no message that should have been kept longer.
    pub expired: usize,
    /// One of them may stay as the log's next file.
    pub recycle: bool,
}

impl Retention {
    pub(in crate::store) fn round(&self, look: &Look) -> Round {
        let used = used_percent(look.space);
        let is_time = look.is_asked_for
            || self.delete_hours.contains(&look.hour)
            || used > f64::from(self.max_used_percent);
        let expired = if is_time { self.expired(look) } else { 0 };
        let is_short = self.clean_forcibly
            && (used > f64::from(self.forcible_percent) || look.is_out_of_space);
        let is_short = is_short && !mutant!(FullDiskNotFreed);
        let needs_file =
            self.clean_forcibly && look.needs_file && !look.has_spare && !mutant!(FullDiskNotFreed);
        let drop_spare = is_short && look.has_spare && !look.needs_file;
        let forced = match is_short {
            true => self
                .files_to_free(look)
                .saturating_sub(usize::from(drop_spare)),
            false => 0,
        };
        let forced = forced.max(usize::from(needs_file));
        let remove = expired.max(forced).max(self.files_over_size(look));
        let remove = remove.min(look.newest_ms.len()).min(MAX_FILES);
        Round {
            drop_spare,
            remove,
            expired: self.expired(look).min(remove),
            // What is to take the next messages needs no space at all then, whatever there is none of.
            recycle: !is_short || needs_file,
        }
    }

    /// Why sends are refused, if they are.
    pub(in crate::store) fn refuses(&self, space: Space) -> Option<String> {
        let used = used_percent(space);
        (used > f64::from(self.warning_percent)).then(|| {
            format!(
                "the disk is {used:.1} % full, sends are taken up to {} % (diskSpaceWarningLevelRatio): free some space, or let go of more with fileReservedTime",
                self.warning_percent
            )
        })
    }

    pub(in crate::store) fn is_expired(&self, newest_ms: i64, now_ms: i64) -> bool {
        let share = if mutant!(RetentionTooEarly) { 2 } else { 1 };
        now_ms.saturating_sub(newest_ms) > self.reserved_ms as i64 / share
    }

    /// The log is in the order of its times: a file of unknown time is as old as the one behind it at least.
    fn expired(&self, look: &Look) -> usize {
        let known = look.newest_ms.iter().enumerate();
        known
            .filter_map(|(place, newest_ms)| newest_ms.map(|newest_ms| (place, newest_ms)))
            .take_while(|(_, newest_ms)| self.is_expired(*newest_ms, look.now_ms))
            .last()
            .map_or(0, |(place, _)| place + 1)
    }

    /// How many have to go until the disk is below the ratio again; one at least, as otherwise it would not be asked.
    fn files_to_free(&self, look: &Look) -> usize {
        let Space {
            total_bytes,
            available_bytes,
        } = look.space;
        let wanted =
            u128::from(total_bytes) * u128::from(100 - self.forcible_percent.min(100)) / 100;
        let missing = wanted.saturating_sub(available_bytes.into()) as u64;
        missing.div_ceil(look.segment_bytes).max(1) as usize
    }

    fn files_over_size(&self, look: &Look) -> usize {
        match self.max_log_bytes {
            0 => 0,
            max => look
                .log_bytes
                .saturating_sub(max)
                .div_ceil(look.segment_bytes) as usize,
        }
    }
}

/// 0 where nothing is known of the disk.
fn used_percent(space: Space) -> f64 {
    if space.total_bytes == 0 {
        return 0.0;
    }
    let available = space.available_bytes.min(space.total_bytes);
    100.0 - 100.0 * available as f64 / space.total_bytes as f64
}

pub(in crate::store) fn hour_of_day(unix_ms: i64, utc_offset_s: i32) -> u8 {
    let seconds = unix_ms.div_euclid(1000) + i64::from(utc_offset_s);
    (seconds.rem_euclid(86_400) / 3600) as u8
}
