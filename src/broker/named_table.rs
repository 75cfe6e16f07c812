//! A table by name: found by hash, walked in the order of the names from any name on.
//!
//! The order lets a long walk be cut into slices: a slice ends with a name, the next one begins behind it, whatever was
//! added or removed meanwhile.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::rc::Rc;

use crate::parted::PartedMap;

#[derive(Clone, Debug)]
pub struct NamedTable<V> {
    by_name: PartedMap<Rc<str>, V>,
    names: BTreeSet<Rc<str>>,
}

impl<V> Default for NamedTable<V> {
    fn default() -> Self {
        Self {
            by_name: PartedMap::default(),
            names: BTreeSet::new(),
        }
    }
}

impl<V> NamedTable<V> {
    pub fn get(&self, name: &str) -> Option<&V> {
        self.by_name.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.by_name.get_mut(name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The value that was there before.
    pub fn insert(&mut self, name: &str, value: V) -> Option<V> {
        if let Some(known) = self.by_name.get_mut(name) {
            return Some(std::mem::replace(known, value));
        }
        let name: Rc<str> = name.into();
        self.names.insert(name.clone());
        self.by_name.insert(name, value)
    }

    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.names.remove(name);
        self.by_name.remove(name)
    }

    /// The name at this place of the order. The names before it are skipped, at some nanoseconds each.
    pub fn name_at(&self, place: usize) -> Option<&str> {
        self.names.iter().nth(place).map(|name| &**name)
    }

    /// The entries behind this name, in order; all of them if there is none.
    pub fn after(&self, name: Option<&str>) -> impl Iterator<Item = (&str, &V)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.range::<str, _>((from, Bound::Unbounded));
        names.filter_map(|name| Some((&**name, self.by_name.get(name)?)))
    }

    /// The entry of this name and those behind it, in order.
    pub fn starting_at(&self, name: &str) -> impl Iterator<Item = (&str, &V)> {
        let names = self
            .names
            .range::<str, _>((Bound::Included(name), Bound::Unbounded));
        names.filter_map(|name| Some((&**name, self.by_name.get(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    proptest! {
        #[test]
        fn as_an_ordered_map(changes in prop::collection::vec(("[a-d]{1,2}", prop::option::of(0..9)), 0..40)) {
            let mut table = NamedTable::default();
            let mut model = BTreeMap::new();
            for (name, value) in changes {
                match value {
                    Some(value) => prop_assert_eq!(table.insert(&name, value), model.insert(name, value)),
                    None => prop_assert_eq!(table.remove(&name), model.remove(&name)),
                }
            }
            let all: Vec<_> = model.iter().map(|(name, value)| (&**name, value)).collect();
            prop_assert_eq!(table.after(None).collect::<Vec<_>>(), all);
            let behind = model.range("b".to_owned()..).filter(|(name, _)| *name != "b");
            let behind: Vec<_> = behind.map(|(name, value)| (&**name, value)).collect();
            prop_assert_eq!(table.after(Some("b")).collect::<Vec<_>>(), behind);
            prop_assert_eq!(table.len(), model.len());
            let second = model.keys().nth(1).map(|name| &**name);
            prop_assert_eq!(table.name_at(1), second);
        }
    }
}
