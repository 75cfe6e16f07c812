//! Names of log and queue files: the offset of their first byte in 20 decimal digits.

use std::path::Path;

pub(super) fn offset_name(offset: u64) -> String {
    format!("{offset:020}")
}

pub(super) fn parse_offset_name(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())?
}
