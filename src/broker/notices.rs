//! Which large groups have changed since their members were notified (40).
//!
//! A notification costs a frame for each member. When n members join or leave one after another, notifying all of them each time
//! would cost n * n frames. Hence changes of a large group are collected: it is notified once in an interval that grows with its
//! size, a slice of its members each turn.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::ConnId;

/// Between two notifications of a group: at least so long, and so much longer for each member.
const INTERVAL_MS: u64 = 100;
const MEMBERS_PER_MS: u64 = 10;

/// RocketMQ's interval with `realTimeNotifyConsumerChange=false`.
const COLLECTED_MS: u64 = 15_000;

#[derive(Debug, Default)]
pub struct Notices {
    groups: BTreeMap<Rc<str>, Notice>,
    /// Each group once.
    due: BTreeSet<(u64, Rc<str>)>,
}

#[derive(Debug)]
struct Notice {
    due_ms: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has changed since the last notification. The group is kept until the interval is over.
    Quiet,
    Changed,
    /// Members up to this one have been notified.
    Notifying {
        up_to: ConnId,
        has_changed: bool,
    },
}

/// Members of a group to notify: at most so many, behind this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub group: Rc<str>,
    pub after: Option<ConnId>,
    pub most: usize,
}

impl Notices {
    /// The group's members or subscriptions have changed.
    pub fn changed(&mut self, group: &str, is_collected: bool, now_ms: u64) {
        if let Some(notice) = self.groups.get_mut(group) {
            notice.state = match notice.state {
                State::Quiet | State::Changed => State::Changed,
                State::Notifying { up_to, .. } => State::Notifying {
                    up_to,
                    has_changed: true,
                },
            };
            return;
        }
        let wait_ms = if is_collected { COLLECTED_MS } else { 0 };
        let group: Rc<str> = group.into();
        self.schedule(group, State::Changed, now_ms.saturating_add(wait_ms));
    }

    /// The next slice that is due. [`Self::notified`] is to follow.
    pub fn next(&mut self, now_ms: u64, most: usize) -> Option<Slice> {
        if most == 0 {
            return None;
        }
        loop {
            let (due_ms, group) = self.due.first()?;
            if *due_ms > now_ms {
                return None;
            }
            let group = group.clone();
            let state = self.groups.get(&group).map(|notice| notice.state);
            let after = match state {
                Some(State::Changed) => None,
                Some(State::Notifying { up_to, .. }) => Some(up_to),
                Some(State::Quiet) | None => {
                    self.forget(&group);
                    continue;
                }
            };
            return Some(Slice { group, after, most });
        }
    }

    /// These members of the slice have been notified, of so many that the group has now; `None`: it has none.
    pub fn notified(
        &mut self,
        slice: &Slice,
        conns: &[ConnId],
        members: Option<usize>,
        is_collected: bool,
        now_ms: u64,
    ) {
        let was = self.forget(&slice.group);
        let Some(members) = members else { return };
        let has_changed = matches!(
            was,
            Some(State::Notifying {
                has_changed: true,
                ..
            })
        );
        match conns.last() {
            Some(up_to) if conns.len() == slice.most => {
                let state = State::Notifying {
                    up_to: *up_to,
                    has_changed,
                };
                self.schedule(slice.group.clone(), state, now_ms);
            }
            _ => {
                let state = match has_changed {
                    true => State::Changed,
                    false => State::Quiet,
                };
                let interval_ms = match is_collected {
                    true => COLLECTED_MS,
                    false => INTERVAL_MS + members as u64 / MEMBERS_PER_MS,
                };
                let due_ms = now_ms.saturating_add(interval_ms);
                self.schedule(slice.group.clone(), state, due_ms);
            }
        }
    }

    fn schedule(&mut self, group: Rc<str>, state: State, due_ms: u64) {
        self.due.insert((due_ms, group.clone()));
        self.groups.insert(group, Notice { due_ms, state });
    }

    fn forget(&mut self, group: &Rc<str>) -> Option<State> {
        let notice = self.groups.remove(group)?;
        self.due.remove(&(notice.due_ms, group.clone()));
        Some(notice.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notifies all that is due in slices of `most`, of a group with members 1 to `members`; returns how many frames that took.
    fn run(notices: &mut Notices, members: u64, most: usize, now_ms: u64) -> usize {
        let mut frames = 0;
        let mut slices = 0;
        while let Some(slice) = notices.next(now_ms, most) {
            let after = slice.after.map_or(0, |conn| conn.0);
            let last = (after + most as u64).min(members);
            let conns: Vec<_> = (after + 1..=last).map(ConnId).collect();
            assert!(conns.len() <= most);
            frames += conns.len();
            slices += 1;
            assert!(slices < 1000, "the same slice again and again");
            notices.notified(&slice, &conns, Some(members as usize), false, now_ms);
        }
        frames
    }

    #[test]
    fn changes_within_an_interval_are_notified_once() {
        let mut notices = Notices::default();
        for _ in 0..3000 {
            notices.changed("g", false, 5);
        }
        assert_eq!(run(&mut notices, 3000, 512, 5), 3000);
        for _ in 0..3000 {
            notices.changed("g", false, 6);
        }
        assert_eq!(run(&mut notices, 3000, 512, 404), 0, "100 ms and 300 more");
        assert_eq!(run(&mut notices, 3000, 512, 405), 3000);
        assert_eq!(run(&mut notices, 3000, 512, 10_000), 0);
        assert!(notices.groups.is_empty() && notices.due.is_empty());
    }

    #[test]
    fn a_change_during_a_notification_is_notified_again_to_all() {
        let mut notices = Notices::default();
        notices.changed("g", false, 0);
        let slice = notices.next(0, 2).unwrap();
        notices.notified(&slice, &[ConnId(1), ConnId(2)], Some(3), false, 0);
        notices.changed("g", false, 0);
        assert_eq!(run(&mut notices, 3, 2, 0), 1, "the third member");
        assert_eq!(run(&mut notices, 3, 2, 100), 3);
        assert_eq!(run(&mut notices, 3, 2, 1000), 0);
    }

    #[test]
    fn collected_changes_wait_for_their_interval() {
        let mut notices = Notices::default();
        notices.changed("g", true, 0);
        assert_eq!(notices.next(14_999, 9), None);
        let slice = notices.next(15_000, 9).unwrap();
        notices.notified(&slice, &[ConnId(1)], Some(1), true, 15_000);
        notices.changed("g", true, 15_001);
        assert_eq!(notices.next(29_999, 9), None);
        let slice = notices.next(30_000, 9).unwrap();
        notices.notified(&slice, &[], None, true, 30_000);
        assert!(notices.groups.is_empty() && notices.due.is_empty());
    }
}
