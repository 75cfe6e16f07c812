//! How a file is opened, and what becomes of O_DIRECT where the file system does not have it.

use std::io;
use std::path::Path;
use std::sync::Once;

use tracing::warn;

use crate::io::{Durability, OpenOptions};
use crate::mem::BLOCK_BYTES;

pub const FILE_MODE: u32 = 0o644;
pub const DIR_MODE: u32 = 0o777;

/// How the bytes of an open file reach the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// Through the page cache, as it was asked for.
    No,
    Yes,
    /// It was asked for and the file system does not have it. A buffered write may be lost with the page cache when the kernel crashes, which the
    /// promise of `Durability::Written` excludes. So each write is `Durability::Synced`.
    Missing,
}

impl Direct {
    pub fn asked(options: OpenOptions) -> Direct {
        match options.direct {
            true => Direct::Yes,
            false => Direct::No,
        }
    }

    /// What a write has to be for its promise to hold.
    pub fn durability(self, asked: Durability) -> Durability {
        match self {
            Direct::Missing => Durability::Synced,
            Direct::No | Direct::Yes => asked,
        }
    }

    /// The error that O_DIRECT gives for a transfer that is not of whole blocks: the same on every file system.
    pub fn check(self, offset: u64, len: usize) -> io::Result<()> {
        let is_aligned =
            offset.is_multiple_of(BLOCK_BYTES as u64) && len.is_multiple_of(BLOCK_BYTES);
        match self {
            Direct::Missing if !is_aligned => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            _ => Ok(()),
        }
    }
}

pub fn open_flags(options: OpenOptions, direct: Direct) -> i32 {
    let mut flags = match options.write {
        true => libc::O_RDWR,
        false => libc::O_RDONLY,
    };
    if options.create {
        flags |= libc::O_CREAT;
    }
    if direct == Direct::Yes {
        flags |= libc::O_DIRECT;
    }
    flags
}

/// Whether an open failed for want of O_DIRECT, so that one without may succeed. The first such file is logged.
pub fn lacks_direct(path: &Path, direct: Direct, error: &io::Error) -> bool {
    static LOGGED: Once = Once::new();
    let lacks = direct == Direct::Yes && error.raw_os_error() == Some(libc::EINVAL);
    if lacks {
        LOGGED.call_once(|| {
            warn!(
                "the file system of {} has no O_DIRECT: writes go through the page cache, and each is flushed; ext4 and XFS are faster",
                path.display()
            );
        });
    }
    lacks
}
