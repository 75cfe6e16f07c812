//! The properties that an expression names, and their values in the message that is evaluated.
//!
//! A message's properties are read once, however often the expression names them. Nothing is allocated for a message.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::message::properties;

/// A property that the expression names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameId(u32);

#[derive(Debug, Default)]
pub(super) struct Names {
    ids: BTreeMap<Box<[u8]>, NameId>,
    /// By id, where the value is in the properties of the message that is evaluated.
    values: RefCell<Vec<Option<Range<usize>>>>,
}

impl Names {
    pub fn id(&mut self, name: &str) -> NameId {
        let values = self.values.get_mut();
        *self.ids.entry(name.as_bytes().into()).or_insert_with(|| {
            values.push(None);
            NameId(values.len() as u32 - 1)
        })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Finds the values in these properties; of equal names the last one.
    pub fn read(&self, all: &[u8]) {
        let mut values = self.values.borrow_mut();
        values.fill(None);
        properties::for_each(all, |name, value| {
            if let Some(id) = self.ids.get(name) {
                values[id.0 as usize] = Some(value);
            }
        });
    }

    /// The value in the properties that were read last. One that is not UTF-8 is not there.
    pub fn value<'a>(&self, id: NameId, all: &'a [u8]) -> Option<&'a [u8]> {
        let values = self.values.borrow();
        all.get(values[id.0 as usize].clone()?)
    }
}
