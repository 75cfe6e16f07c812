//! Which generation of the journal has a queue, and whether what it has is up to date.

/// What the journal has of a queue: its name and its minimum, by which its entries are understood. A row counts in its generation only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JournalRow {
    Missing,
    Current {
        generation: u64,
        number: u32,
    },
    /// The minimum has moved since: the row is written once more, under the same number.
    MinMoved {
        generation: u64,
        number: u32,
    },
}

impl JournalRow {
    /// The number of the queue in this generation, if that has the queue.
    pub fn number_in(self, this: u64) -> Option<u32> {
        match self {
            Self::Current { generation, number } | Self::MinMoved { generation, number } => {
                (generation == this).then_some(number)
            }
            Self::Missing => None,
        }
    }

    pub fn is_current_in(self, this: u64) -> bool {
        matches!(self, Self::Current { generation, .. } if generation == this)
    }

    pub fn min_moved(self) -> Self {
        match self {
            Self::Current { generation, number } | Self::MinMoved { generation, number } => {
                Self::MinMoved { generation, number }
            }
            Self::Missing => Self::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_in_its_generation_until_the_minimum_moves() {
        let missing = JournalRow::Missing;
        assert_eq!((missing.min_moved(), missing.number_in(0)), (missing, None));
        let row = JournalRow::Current {
            generation: 3,
            number: 7,
        };
        assert!(row.is_current_in(3) && !row.is_current_in(4));
        assert_eq!((row.number_in(3), row.number_in(4)), (Some(7), None));
        let moved = row.min_moved();
        assert!(!moved.is_current_in(3));
        assert_eq!(moved.number_in(3), Some(7));
        assert_eq!(moved.min_moved(), moved);
    }
}
