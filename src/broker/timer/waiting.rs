//! How many messages of each topic wait for their time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// Rows of a part. A part with more is divided.
const MOST_ROWS: usize = 256;

/// Of a topic, with the time of the last change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Waiting {
    pub count: u64,
    #[serde(rename = "timeStamp")]
    pub changed_ms: u64,
}

type Part = BTreeMap<String, Waiting>;

/// Rows by topic, in parts that are shared with what is made of the table in many turns: while that lasts, a change copies its part.
#[derive(Clone, Debug, Default)]
pub struct WaitingTable {
    /// By the first topic that belongs there; that of the first part is "".
    parts: BTreeMap<String, Rc<Part>>,
}

impl WaitingTable {
    pub fn get(&self, topic: &str) -> Option<&Waiting> {
        let upto = (Bound::Unbounded, Bound::Included(topic));
        let (_, part) = self.parts.range::<str, _>(upto).next_back()?;
        part.get(topic)
    }

    /// The row of a topic that has one.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut Waiting> {
        self.get(topic)?;
        self.part_of(topic)?.get_mut(topic)
    }

    /// The row of a topic, which has one from then on.
    pub fn row(&mut self, topic: &str) -> &mut Waiting {
        self.make_room(topic);
        let part = match self.parts.is_empty() {
            true => Rc::make_mut(self.parts.entry(String::new()).or_default()),
            false => self
                .part_of(topic)
                .expect("the first part begins with the least text"),
        };
        part.entry(topic.to_owned()).or_default()
    }

    pub fn remove(&mut self, topic: &str) {
        if self.get(topic).is_some()
            && let Some(part) = self.part_of(topic)
        {
            part.remove(topic);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Waiting)> {
        self.after(None)
    }

    /// Rows behind this topic, in order.
    pub fn after(&self, topic: Option<&str>) -> impl Iterator<Item = (&str, &Waiting)> {
        let upto = (Bound::Unbounded, Bound::Included(topic.unwrap_or_default()));
        let first = self.parts.range::<str, _>(upto).next_back();
        let from = topic.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = first.map(|(_, part)| part.range::<str, _>((from, Bound::Unbounded)));
        let behind = first.map_or(Bound::Unbounded, |(begin, _)| Bound::Excluded(&**begin));
        let parts = self.parts.range::<str, _>((behind, Bound::Unbounded));
        let rest = parts.flat_map(|(_, part)| part.iter());
        let rows = rows.into_iter().flatten().chain(rest);
        rows.map(|(topic, waiting)| (&**topic, waiting))
    }

    fn part_of(&mut self, topic: &str) -> Option<&mut Part> {
        let upto = (Bound::Unbounded, Bound::Included(topic));
        let (_, part) = self.parts.range_mut::<str, _>(upto).next_back()?;
        Some(Rc::make_mut(part))
    }

    /// Divides the topic's part if it is full.
    fn make_room(&mut self, topic: &str) {
        let Some(part) = self.part_of(topic).filter(|part| part.len() >= MOST_ROWS) else {
            return;
        };
        let middle = part.keys().nth(MOST_ROWS / 2).cloned();
        let middle = middle.expect("a full part has a middle");
        let rest = part.split_off(&middle);
        self.parts.insert(middle, Rc::new(rest));
    }
}

impl PartialEq for WaitingTable {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for WaitingTable {}

impl FromIterator<(String, Waiting)> for WaitingTable {
    fn from_iter<T: IntoIterator<Item = (String, Waiting)>>(rows: T) -> Self {
        let mut table = Self::default();
        for (topic, waiting) in rows {
            *table.row(&topic) = waiting;
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_a_map(changes in prop::collection::vec((0..3_000_u64, prop::option::of(1..9_u64)), 0..3_000), after in 0..3_000_u64) {
            let (mut table, mut model) = (WaitingTable::default(), BTreeMap::new());
            for (topic, count) in changes {
                let topic = format!("{topic:04}");
                match count {
                    Some(count) => {
                        table.row(&topic).count = count;
                        model.insert(topic, count);
                    }
                    None => {
                        table.remove(&topic);
                        model.remove(&topic);
                    }
                }
            }
            let after = format!("{after:04}");
            let rows = |after| table.after(after).map(|(topic, row)| (topic.to_owned(), row.count));
            prop_assert!(rows(None).eq(model.clone()));
            let behind = model.iter().filter(|(topic, _)| **topic > after);
            prop_assert!(rows(Some(&after)).eq(behind.map(|(topic, count)| (topic.clone(), *count))));
            prop_assert_eq!(table.get(&after).map(|row| row.count), model.get(&after).copied());
            prop_assert!(table.parts.values().all(|part| part.len() <= MOST_ROWS));
        }
    }

    #[test]
    fn a_change_copies_one_part_of_what_is_shared() {
        let rows = (0..10_000).map(|n| (format!("{n:05}"), Waiting::default()));
        let mut table: WaitingTable = rows.collect();
        let shared = table.clone();
        table.row("05000").count = 7;
        if let Some(row) = table.get_mut("05001") {
            row.count = 8;
        }
        table.remove("05002");
        table.remove("no topic");
        assert_eq!(shared.get("05000"), Some(&Waiting::default()));
        let parts = table.parts.values().zip(shared.parts.values());
        let copied = parts.filter(|(one, other)| !Rc::ptr_eq(one, other)).count();
        assert!(
            (1..=2).contains(&copied) && table.parts.len() > 30,
            "{copied}"
        );
    }
}
