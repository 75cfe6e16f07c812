//! How often a table was changed, and when last: tables with equal versions are equal.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    pub counter: i64,
    /// Of the controller; 0 without one.
    pub state_version: i64,
    #[serde(rename = "timestamp")]
    pub timestamp_ms: i64,
}

impl DataVersion {
    /// That of a table changed once more.
    pub const fn next(self, now_ms: i64) -> Self {
        Self {
            counter: self.counter + 1,
            state_version: self.state_version,
            timestamp_ms: now_ms,
        }
    }
}
