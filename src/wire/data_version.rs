//! How often a table was changed, and when last: tables with equal versions are equal.

use serde::{Deserialize, Serialize};

use super::loose_json;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    pub counter: i64,
    /// The controller's epoch; 0 without a controller.
    pub state_version: i64,
    #[serde(rename = "timestamp")]
    pub timestamp_ms: i64,
}

/// Most entries of a page (`splitMetadataSize`).
const MAX_PAGE: usize = 2_000;

impl DataVersion {
    /// First entry and size of the page that a request asks for. `seq` entries have been sent already, from a table of the version
    /// `known` (in JSON). If the table has changed since, paging restarts. An old client sends none of the three and gets everything.
    pub fn page(self, seq: Option<i32>, known: Option<&str>, max: Option<i32>) -> (usize, usize) {
        if (seq, known, max) == (None, None, None) {
            return (0, usize::MAX);
        }
        let known = known.and_then(|json| loose_json::from_slice::<Self>(json.as_bytes()).ok());
        let is_same = known == Some(self);
        let from = seq
            .filter(|_| is_same)
            .and_then(|seq| usize::try_from(seq).ok());
        let max = max.and_then(|max| usize::try_from(max).ok());
        (
            from.unwrap_or(0),
            max.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE),
        )
    }

    /// The version after one more change.
    pub const fn next(self, now_ms: i64) -> Self {
        Self {
            counter: self.counter + 1,
            state_version: self.state_version,
            timestamp_ms: now_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let version = DataVersion {
            counter: 3,
            state_version: 0,
            timestamp_ms: 7,
        };
        let known = String::from_utf8(loose_json::to_vec(&version)).unwrap();
        assert_eq!(version.page(None, None, None), (0, usize::MAX));
        assert_eq!(version.page(Some(5), Some(&known), Some(10)), (5, 10));
        assert_eq!(version.page(Some(5), Some(&known), None), (5, MAX_PAGE));
        assert_eq!(
            version.page(Some(-5), Some(&known), Some(-1)),
            (0, MAX_PAGE)
        );
        assert_eq!(version.page(Some(5), None, Some(99_999)), (0, MAX_PAGE));
        assert_eq!(
            version.next(8).page(Some(5), Some(&known), Some(10)),
            (0, 10)
        );
        assert_eq!(version.page(Some(5), Some("{"), Some(10)), (0, 10));
    }
}
