//! How a topic's queues are divided among the members of a group. Every client computes it for itself from the same sorted
//! lists, and the broker for those that ask it, so all must agree.
//!
//! Source: `AllocateMessageQueueAveragely`.

use std::ops::Range;

/// The queues, by their places in the list, of the member at `place` of `members`: in turn, as even as possible, the first
/// members one more.
pub fn averagely(queues: usize, members: usize, place: usize) -> Range<usize> {
    let (each, left) = (queues / members, queues % members);
    let start = place * each + place.min(left);
    start..start + each + usize::from(place < left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first and last queue of a member that has any.
    type Ends = Option<(usize, usize)>;

    /// Computed with the Java class of 5.5.0: queues, members, and each member's part.
    const GOLDEN: &[(usize, usize, &[Ends])] = &[
        (8, 1, &[Some((0, 7))]),
        (8, 2, &[Some((0, 3)), Some((4, 7))]),
        (8, 3, &[Some((0, 2)), Some((3, 5)), Some((6, 7))]),
        (7, 3, &[Some((0, 2)), Some((3, 4)), Some((5, 6))]),
        (
            10,
            4,
            &[Some((0, 2)), Some((3, 5)), Some((6, 7)), Some((8, 9))],
        ),
        (2, 3, &[Some((0, 0)), Some((1, 1)), None]),
        (
            4,
            4,
            &[Some((0, 0)), Some((1, 1)), Some((2, 2)), Some((3, 3))],
        ),
        (1, 2, &[Some((0, 0)), None]),
        (
            5,
            7,
            &[
                Some((0, 0)),
                Some((1, 1)),
                Some((2, 2)),
                Some((3, 3)),
                Some((4, 4)),
                None,
                None,
            ],
        ),
        (
            16,
            5,
            &[
                Some((0, 3)),
                Some((4, 6)),
                Some((7, 9)),
                Some((10, 12)),
                Some((13, 15)),
            ],
        ),
    ];

    #[test]
    fn as_in_java() {
        for (queues, members, expected) in GOLDEN {
            for (place, expected) in expected.iter().enumerate() {
                let mut mine = averagely(*queues, *members, place);
                let ends = mine.clone().next().zip(mine.next_back());
                assert_eq!(ends, *expected, "{place} of {members}, {queues} queues");
            }
        }
    }

    /// The method of the Java class, line by line.
    fn java(index: usize, members: usize, queues: usize) -> Vec<usize> {
        let remainder = queues % members;
        let average = if queues <= members {
            1
        } else if remainder > 0 && index < remainder {
            queues / members + 1
        } else {
            queues / members
        };
        let start = if remainder > 0 && index < remainder {
            index * average
        } else {
            index * average + remainder
        };
        let range = average.min(queues.saturating_sub(start));
        (0..range).map(|nth| (start + nth) % queues).collect()
    }

    proptest! {
        #[test]
        fn every_queue_has_one_owner_and_java_agrees(queues in 0_usize..200, members in 1_usize..40) {
            let mut owned = Vec::new();
            for place in 0..members {
                let mine: Vec<usize> = averagely(queues, members, place).collect();
                prop_assert_eq!(&mine, &java(place, members, queues));
                owned.extend(mine);
            }
            prop_assert_eq!(owned, (0..queues).collect::<Vec<_>>());
        }
    }
}
