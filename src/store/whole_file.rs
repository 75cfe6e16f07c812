//! Small files that are written as a whole.

use std::path::Path;

use super::StoreError;
use super::medium::{Guarded, Medium};
use crate::io::{Durability, Io};

/// Makes the file, or makes it anew, with these bytes, which are on the device when it returns; its name may not be.
pub(super) async fn write<I: Io>(
    io: &Medium<I>,
    path: &Path,
    bytes: Vec<u8>,
) -> Result<Guarded<I>, StoreError> {
    let file = io.create(path).await?;
    file.resize(0).await?;
    file.write_at(bytes, 0, Durability::Written).await.0?;
    file.sync_data().await?;
    Ok(file)
}
