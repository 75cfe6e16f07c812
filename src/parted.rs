//! A hash table that grows a part at a time.
//!
//! A hash table that is full moves all its entries into one of twice the size, in one call. With 10,000 topics that call took 10 to
//! 25 ms on the core that answers messages. Here the entries are spread over 256 small tables by their hash, and each grows by
//! itself: an insertion moves a 256th of the entries at most. An empty table takes 8 KiB, so it is for the large tables of a
//! shard, not for one of many small ones.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, Equivalent, HashTable};

const PARTS: usize = 256;

/// Bits of the hash that choose the part. The tables themselves use the lowest bits and the seven highest ones.
const PART_SHIFT: u32 = u64::BITS - 7 - PARTS.ilog2();

#[derive(Clone)]
pub struct PartedMap<K, V> {
    parts: Box<[HashTable<(K, V)>]>,
    hasher: DefaultHashBuilder,
    len: usize,
}

impl<K, V> Default for PartedMap<K, V> {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| HashTable::new()).collect(),
            hasher: DefaultHashBuilder::default(),
            len: 0,
        }
    }
}

impl<K, V> PartedMap<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn clear(&mut self) {
        self.parts.iter_mut().for_each(HashTable::clear);
        self.len = 0;
    }
}

impl<K: Hash + Eq, V> PartedMap<K, V> {
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    pub fn get_key_value<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<(&K, &V)> {
        let hash = self.hasher.hash_one(key);
        let found = self.parts[part_of(hash)].find(hash, |(known, _)| key.equivalent(known));
        found.map(|(key, value)| (key, value))
    }

    pub fn get_mut<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        let found = self.parts[part_of(hash)].find_mut(hash, |(known, _)| key.equivalent(known));
        found.map(|(_, value)| value)
    }

    pub fn contains_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
        self.get(key).is_some()
    }

    /// The value of this key. If it is not there, `new` makes its entry, whose key must be equal.
    pub fn get_or_insert_with<Q: Hash + Equivalent<K> + ?Sized>(
        &mut self,
        key: &Q,
        new: impl FnOnce() -> (K, V),
    ) -> &mut V {
        let Self { parts, hasher, len } = self;
        let hash = hasher.hash_one(key);
        let entry = parts[part_of(hash)].entry(
            hash,
            |(known, _)| key.equivalent(known),
            |(known, _)| hasher.hash_one(known),
        );
        let entry = entry.or_insert_with(|| {
            *len += 1;
            new()
        });
        &mut entry.into_mut().1
    }

    /// The value that was there before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(&key) {
            return Some(std::mem::replace(known, value));
        }
        let hash = self.hasher.hash_one(&key);
        let hasher = |(known, _): &(K, V)| self.hasher.hash_one(known);
        self.parts[part_of(hash)].insert_unique(hash, (key, value), hasher);
        self.len += 1;
        None
    }

    pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        self.remove_entry(key).map(|(_, value)| value)
    }

    pub fn remove_entry<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<(K, V)> {
        let hash = self.hasher.hash_one(key);
        let found = self.parts[part_of(hash)].find_entry(hash, |(known, _)| key.equivalent(known));
        let (entry, _) = found.ok()?.remove();
        self.len -= 1;
        Some(entry)
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for PartedMap<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.parts.iter().flatten();
        let entries = entries.map(|(key, value)| (key, value));
        formatter.debug_map().entries(entries).finish()
    }
}

fn part_of(hash: u64) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_an_ordered_map(changes in prop::collection::vec((0..60u16, prop::option::of(0..9u8), any::<bool>()), 0..300)) {
            let mut table = PartedMap::default();
            let mut model = BTreeMap::new();
            for (key, value, is_kept) in changes {
                match value {
                    Some(value) if is_kept => {
                        let known = table.get_or_insert_with(&key, || (key, value));
                        prop_assert_eq!(*known, *model.entry(key).or_insert(value));
                    }
                    Some(value) => prop_assert_eq!(table.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(table.remove_entry(&key), model.remove_entry(&key)),
                }
                prop_assert_eq!(table.get_key_value(&key), model.get_key_value(&key));
                prop_assert_eq!(table.get_mut(&key), model.get_mut(&key));
                prop_assert_eq!(table.len(), model.len());
            }
            prop_assert_eq!(format!("{table:?}").matches(':').count(), model.len());
        }
    }

    thread_local! {
        static HASHED: Cell<usize> = const { Cell::new(0) };
    }

    /// A key that counts how often it is hashed: a table that grows hashes all its keys again.
    #[derive(PartialEq, Eq)]
    struct Counted(u32);

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            HASHED.set(HASHED.get() + 1);
            self.0.hash(state);
        }
    }

    #[test]
    fn an_insertion_moves_a_small_part_of_the_entries() {
        let mut table = PartedMap::default();
        let most = (0..100_000).map(|key| {
            HASHED.set(0);
            table.insert(Counted(key), ());
            HASHED.get()
        });
        let most = most.max().unwrap();
        // A part has 391 entries on average, and 448 are the most before it grows to 896.
        assert!((100..1_000).contains(&most), "{most} keys were hashed");
    }
}
