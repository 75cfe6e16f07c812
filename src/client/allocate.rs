//! Which queues of a topic each member of a group takes: in turn, as even as possible, the first members one more. Every member
//! computes it for itself from the same sorted lists, so all clients of a group must agree on it.
//!
//! Source: `AllocateMessageQueueAveragely`.

/// The queues of `me`; none if it is not a member. Both lists are sorted.
pub fn averagely<'a, Q>(me: &str, members: &[String], queues: &'a [Q]) -> &'a [Q] {
    let Some(index) = members.iter().position(|member| member == me) else {
        return &[];
    };
    let (each, remainder) = (queues.len() / members.len(), queues.len() % members.len());
    let start = index * each + index.min(remainder);
    let count = each + usize::from(index < remainder);
    queues.get(start..start + count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|nth| format!("m{nth:03}")).collect()
    }

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
        for (queues, count, expected) in GOLDEN {
            let queues: Vec<usize> = (0..*queues).collect();
            let members = members(*count);
            for (member, expected) in members.iter().zip(*expected) {
                let mine = averagely(member, &members, &queues);
                let ends = mine.first().copied().zip(mine.last().copied());
                assert_eq!(
                    ends,
                    *expected,
                    "{member} of {count}, {} queues",
                    queues.len()
                );
            }
        }
        assert!(averagely("stranger", &members(2), &[1, 2, 3]).is_empty());
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
        fn every_queue_has_one_owner_and_java_agrees(queues in 0_usize..200, count in 1_usize..40) {
            let queues: Vec<usize> = (0..queues).collect();
            let members = members(count);
            let mut owned = Vec::new();
            for (index, member) in members.iter().enumerate() {
                let mine = averagely(member, &members, &queues);
                prop_assert_eq!(mine.to_vec(), java(index, count, queues.len()));
                owned.extend_from_slice(mine);
            }
            prop_assert_eq!(owned, queues);
        }
    }
}
