//! Names whose last change is not on the disk yet.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashSet;

/// First changed, first saved; a name that changes again before it is saved stands here once.
#[derive(Debug, Default)]
pub struct Unsaved {
    queue: VecDeque<Rc<str>>,
    queued: HashSet<Rc<str>>,
    /// Names of the save that is under way.
    saving: usize,
}

impl Unsaved {
    pub fn note(&mut self, name: &str) {
        if !self.queued.contains(name) {
            let name: Rc<str> = name.into();
            self.queue.push_back(name.clone());
            self.queued.insert(name);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.saving == 0
    }

    /// Everything that changed since the last time. [`Self::saved`] or [`Self::not_saved`] must follow.
    pub fn begin(&mut self) -> Vec<Rc<str>> {
        self.queued.clear();
        let names: Vec<_> = std::mem::take(&mut self.queue).into();
        self.saving += names.len();
        names
    }

    pub fn saved(&mut self, names: &[Rc<str>]) {
        self.saving -= names.len();
    }

    pub fn not_saved(&mut self, names: Vec<Rc<str>>) {
        self.saving -= names.len();
        for name in names.into_iter().rev() {
            if self.queued.insert(name.clone()) {
                self.queue.push_front(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[Rc<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn what_could_not_be_saved_is_saved_first_next_time() {
        let mut unsaved = Unsaved::default();
        ["a", "b", "a"].iter().for_each(|name| unsaved.note(name));
        let begun = unsaved.begin();
        assert_eq!(names(&begun), ["a", "b"]);
        unsaved.note("b");
        unsaved.note("c");
        assert!(!unsaved.is_empty());
        unsaved.not_saved(begun);
        let begun = unsaved.begin();
        assert_eq!(names(&begun), ["a", "b", "c"]);
        unsaved.saved(&begun);
        assert!(unsaved.is_empty());
    }
}
