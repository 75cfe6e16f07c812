//! Which broker becomes master.
//!
//! Only a member of the SyncStateSet has every acknowledged message, so only a member is elected, unless the operator has allowed it
//! otherwise (`enableElectUncleanMaster`). The old master stays if it is alive. Source: `DefaultElectPolicy.java`.

use std::cmp::Reverse;

use super::command::AskedBy;
use super::group::Group;

/// What decides between members that are alive; from a broker's last heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: i64,
    pub epoch: i32,
    pub max_offset: i64,
    /// The lowest first.
    pub priority: i32,
    /// A member of the set from which no heartbeat came when one was due. It may be cut off together with the master.
    pub is_silent: bool,
    /// A part of its log cannot be read.
    pub is_damaged: bool,
}

/// Those that have every message, if one of them may be elected: the others are repaired from it. None while such a one is awaited.
pub fn whole_if_any(group: &Group, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if awaits_whole(group, &candidates) {
        return Vec::new();
    }
    if has_whole(group, &candidates) {
        candidates.retain(|it| !it.is_damaged);
    }
    candidates
}

/// Whether only a silent member has every message, while damaged ones could be elected. It is heard again or dead within the limit of silence.
pub fn awaits_whole(group: &Group, candidates: &[Candidate]) -> bool {
    let mut members = candidates.iter().filter(|it| group.set.contains(&it.id));
    let is_silent_whole = |it: &Candidate| it.is_silent && !it.is_damaged;
    !mutant!(SilentWholePassed)
        && !has_whole(group, candidates)
        && members.clone().any(is_silent_whole)
        && members.any(|it| !it.is_silent)
}

/// Whether one of them has every message, and is heard.
pub fn has_whole(group: &Group, candidates: &[Candidate]) -> bool {
    let is_whole = |it: &Candidate| !it.is_damaged && !it.is_silent && group.set.contains(&it.id);
    candidates.iter().any(is_whole)
}

/// Ids, the best first: one that is not silent, then the newest epoch, then the longest log (all 64 bits of it), then the priority.
pub fn in_order(mut candidates: Vec<Candidate>) -> Vec<i64> {
    candidates.sort_by_key(|it| {
        let max_offset = match mutant!(ElectionBy32Bits) {
            true => (it.max_offset as i32).into(),
            false => it.max_offset,
        };
        let log = (Reverse(it.epoch), Reverse(max_offset));
        (it.is_silent, log, it.priority, it.id)
    });
    candidates
        .into_iter()
        .map(|candidate| candidate.id)
        .collect()
}

/// `candidates` are alive, the best first.
pub(super) fn winner(
    group: &Group,
    asked: AskedBy,
    candidates: &[i64],
    unclean: bool,
) -> Option<i64> {
    if group.is_new
        && let AskedBy::Broker(id) | AskedBy::Operator(id) = asked
    {
        return Some(id);
    }
    // Every member of the set was removed: what they had is lost, and only an operator can say which log is to stand for it.
    if group.set.is_empty()
        && let AskedBy::Operator(id) = asked
    {
        return candidates.contains(&id).then_some(id);
    }
    let in_set = among(candidates, |id| group.set.contains(id));
    best(group, asked, &in_set).or_else(|| {
        let registered = among(candidates, |id| group.replicas.contains_key(id));
        unclean.then(|| best(group, asked, &registered))?
    })
}

fn among(candidates: &[i64], belongs: impl Fn(&i64) -> bool) -> Vec<i64> {
    candidates
        .iter()
        .copied()
        .filter(|id| belongs(id))
        .collect()
}

fn best(group: &Group, asked: AskedBy, candidates: &[i64]) -> Option<i64> {
    if let AskedBy::Operator(id) = asked {
        return candidates.contains(&id).then_some(id);
    }
    let old = group.master.filter(|id| candidates.contains(id));
    old.or(candidates.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i64, epoch: i32, max_offset: i64, priority: i32) -> Candidate {
        Candidate {
            id,
            epoch,
            max_offset,
            priority,
            is_silent: false,
            is_damaged: false,
        }
    }

    /// Each member has all that was acknowledged. One that is silent may be dead, and elected it would be the only member of the new set.
    #[test]
    fn a_silent_member_is_the_last_choice() {
        let silent = Candidate {
            is_silent: true,
            ..candidate(1, 2, 900, 0)
        };
        assert_eq!(in_order(vec![silent, candidate(2, 2, 100, 9)]), [2, 1]);
    }

    #[test]
    fn epoch_before_offset_before_priority() {
        let of = |candidates: &[Candidate]| in_order(candidates.to_vec());
        assert_eq!(
            of(&[candidate(1, 1, 900, 0), candidate(2, 2, 100, 9)]),
            [2, 1]
        );
        assert_eq!(
            of(&[candidate(1, 2, 100, 0), candidate(2, 2, 101, 9)]),
            [2, 1]
        );
        assert_eq!(
            of(&[candidate(1, 2, 100, 9), candidate(2, 2, 100, 0)]),
            [2, 1]
        );
        assert_eq!(
            of(&[candidate(2, 2, 100, 0), candidate(1, 2, 100, 0)]),
            [1, 2]
        );
    }

    /// RocketMQ takes the low 32 bits of the difference: from 2 GiB on the shorter log wins.
    #[test]
    fn offsets_are_compared_in_all_their_bits() {
        let short = 100;
        for longer in [1 << 31, 1 << 32, 3 << 31, i64::MAX] {
            let both = vec![
                candidate(1, 1, short, 0),
                candidate(2, 1, short.saturating_add(longer), 0),
            ];
            assert_eq!(in_order(both), [2, 1], "{longer}");
        }
        let extremes = vec![
            candidate(1, i32::MIN, i64::MIN, i32::MIN),
            candidate(2, i32::MAX, i64::MAX, i32::MAX),
        ];
        assert_eq!(in_order(extremes), [2, 1]);
    }
}
