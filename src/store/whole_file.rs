//! Small files that are written as a whole.

use std::path::Path;

use super::StoreError;
use crate::io::{Durability, File, Io, OpenOptions};

/// Makes the file, or makes it anew, with these bytes, which are on the device when it returns; its name may not be.
pub(super) async fn write<I: Io>(
    io: &I,
    path: &Path,
    bytes: Vec<u8>,
) -> Result<I::File, StoreError> {
    let options = OpenOptions {
        write: true,
        create: true,
        direct: false,
    };
    let file = io
        .open(path, options)
        .await
        .map_err(StoreError::io("create", path))?;
    file.resize(0)
        .await
        .map_err(StoreError::io("empty", path))?;
    let (written, _) = file.write_at(bytes, 0, Durability::Written).await;
    written.map_err(StoreError::io("write", path))?;
    file.sync_data()
        .await
        .map_err(StoreError::io("sync", path))?;
    Ok(file)
}
