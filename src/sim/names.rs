//! The names of one host's files: what a process sees now, and what is left of it after a power cut.
//!
//! `durable` is what the device holds for certain, `pending` what was done since and by which operation. `sync_dir` of
//! a directory moves its part of `pending` into `durable`: the names in it, but neither its own nor those above it,
//! although the journals of the common filesystems do more. A power cut draws for each pending change whether it is on
//! the device; of a rename that may also be both names, with a file each (a journal never leaves one file under two
//! names).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::rng::Rng;
use super::sectors::Inode;
use super::tally::Tally;
use super::versions::Seq;

#[derive(Clone)]
pub(super) enum Node {
    Dir,
    File(Rc<RefCell<Inode>>),
}

type Tree = BTreeMap<PathBuf, Node>;

pub(super) struct Names {
    now: Tree,
    durable: Tree,
    pending: Vec<(Seq, Change)>,
}

enum Change {
    Bind(PathBuf, Node),
    Unbind(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

impl Names {
    pub fn new() -> Self {
        let root = Tree::from([(PathBuf::from("/"), Node::Dir)]);
        Self {
            now: root.clone(),
            durable: root,
            pending: Vec::new(),
        }
    }

    pub fn find(&self, path: &Path) -> Option<&Node> {
        self.now.get(path)
    }

    pub fn file(&self, path: &Path) -> io::Result<Rc<RefCell<Inode>>> {
        match self.now.get(path) {
            Some(Node::File(inode)) => Ok(Rc::clone(inode)),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    pub fn create(&mut self, path: &Path, seq: Seq) -> io::Result<Rc<RefCell<Inode>>> {
        self.parent_of(path)?;
        let inode = Rc::new(RefCell::new(Inode::new(path.to_path_buf())));
        self.bind(path, Node::File(Rc::clone(&inode)), seq);
        Ok(inode)
    }

    /// `false` if it is there already.
    pub fn create_dir(&mut self, path: &Path, seq: Seq) -> io::Result<bool> {
        match self.now.get(path) {
            Some(Node::Dir) => Ok(false),
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                self.parent_of(path)?;
                self.bind(path, Node::Dir, seq);
                Ok(true)
            }
        }
    }

    /// The nodes right below `dir`, sorted.
    pub fn children<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Node)> {
        self.now
            .range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(dir))
            .filter(move |(path, _)| path.parent() == Some(dir))
            .map(|(path, node)| (path.as_path(), node))
    }

    pub fn rename(&mut self, from: &Path, to: &Path, seq: Seq) -> io::Result<()> {
        let inode = self.file(from)?;
        self.parent_of(to)?;
        if let Some(Node::Dir) = self.now.get(to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from == to {
            return Ok(());
        }
        inode.borrow_mut().name = to.to_path_buf();
        let node = Node::File(inode);
        self.change(
            Change::Rename(from.to_path_buf(), to.to_path_buf(), node),
            seq,
        );
        Ok(())
    }

    pub fn remove_file(&mut self, path: &Path, seq: Seq) -> io::Result<()> {
        self.file(path)?;
        self.unbind(path, seq);
        Ok(())
    }

    pub fn remove_dir(&mut self, path: &Path, seq: Seq) -> io::Result<()> {
        match self.now.get(path) {
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            Some(Node::Dir) if self.children(path).next().is_some() => {
                Err(io::ErrorKind::DirectoryNotEmpty.into())
            }
            Some(Node::Dir) => {
                self.unbind(path, seq);
                Ok(())
            }
        }
    }

    /// What was done in `dir` before operation `submitted` is durable.
    pub fn sync_dir(&mut self, dir: &Path, submitted: Seq) -> io::Result<()> {
        self.is_dir(dir)?;
        let mut left = Vec::new();
        for (seq, change) in std::mem::take(&mut self.pending) {
            if seq > submitted || !change.concerns(dir) {
                left.push((seq, change));
                continue;
            }
            match change {
                // The new name is in `dir`, the old one in another directory that was not synced.
                Change::Rename(from, to, node) if !is_name_in(dir, &from) => {
                    self.durable.insert(to, node);
                    left.push((seq, Change::Unbind(from)));
                }
                change => change.apply(&mut self.durable),
            }
        }
        self.pending = left;
        Ok(())
    }

    /// As [`Self::sync_dir`] of `dir` and all directories below it.
    pub fn sync_tree(&mut self, dir: &Path, submitted: Seq) -> io::Result<()> {
        self.is_dir(dir)?;
        let below = self
            .now
            .range::<Path, _>((Bound::Included(dir), Bound::Unbounded));
        let dirs: Vec<PathBuf> = below
            .take_while(|(path, _)| path.starts_with(dir))
            .filter(|(_, node)| matches!(node, Node::Dir))
            .map(|(path, _)| path.clone())
            .collect();
        dirs.iter()
            .try_for_each(|dir| self.sync_dir(dir, submitted))
    }

    /// Decides which names the device holds after a power cut, and what each file holds.
    pub fn lose_power(&mut self, rng: &mut Rng, tally: &mut Tally) {
        let mut survivors = std::mem::take(&mut self.durable);
        let pending = std::mem::take(&mut self.pending);
        draw_changes(
            &mut survivors,
            pending.into_iter().map(|(_, change)| change),
            rng,
            tally,
        );
        drop_orphans(&mut survivors);
        settle_files(&mut survivors, rng, tally);
        self.now = survivors.clone();
        self.durable = survivors;
    }

    /// Every file that has a name now.
    pub fn files(&self) -> impl Iterator<Item = &Rc<RefCell<Inode>>> {
        self.now.values().filter_map(Node::file)
    }

    /// Those in `dir` and below it.
    pub fn files_below(&self, dir: &Path) -> Vec<Rc<RefCell<Inode>>> {
        let below = self
            .now
            .range::<Path, _>((Bound::Included(dir), Bound::Unbounded));
        below
            .take_while(|(path, _)| path.starts_with(dir))
            .filter_map(|(_, node)| node.file().cloned())
            .collect()
    }

    fn bind(&mut self, path: &Path, node: Node, seq: Seq) {
        self.change(Change::Bind(path.to_path_buf(), node), seq);
    }

    fn unbind(&mut self, path: &Path, seq: Seq) {
        self.change(Change::Unbind(path.to_path_buf()), seq);
    }

    fn change(&mut self, change: Change, seq: Seq) {
        change.apply(&mut self.now);
        self.pending.push((seq, change));
    }

    fn parent_of(&self, path: &Path) -> io::Result<()> {
        self.is_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn is_dir(&self, path: &Path) -> io::Result<()> {
        match self.now.get(path) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }
}

impl Node {
    fn file(&self) -> Option<&Rc<RefCell<Inode>>> {
        match self {
            Node::Dir => None,
            Node::File(inode) => Some(inode),
        }
    }

    fn is_same_file(&self, other: &Node) -> bool {
        matches!((self.file(), other.file()), (Some(a), Some(b)) if Rc::ptr_eq(a, b))
    }
}

impl Change {
    fn apply(&self, tree: &mut Tree) {
        match self {
            Change::Bind(path, node) => {
                tree.insert(path.clone(), node.clone());
            }
            Change::Unbind(path) => {
                tree.remove(path);
            }
            Change::Rename(from, to, node) => {
                if tree.get(from).is_some_and(|old| old.is_same_file(node)) {
                    tree.remove(from);
                }
                tree.insert(to.clone(), node.clone());
            }
        }
    }

    fn target(&self) -> &Path {
        match self {
            Change::Bind(path, _) | Change::Unbind(path) | Change::Rename(_, path, _) => path,
        }
    }

    /// Whether `sync_dir(dir)` reaches it.
    fn concerns(&self, dir: &Path) -> bool {
        match self {
            Change::Bind(path, _) | Change::Unbind(path) => is_name_in(dir, path),
            Change::Rename(from, to, _) => is_name_in(dir, from) || is_name_in(dir, to),
        }
    }
}

fn is_name_in(dir: &Path, path: &Path) -> bool {
    path.parent() == Some(dir)
}

fn draw_changes(
    tree: &mut Tree,
    changes: impl Iterator<Item = Change>,
    rng: &mut Rng,
    tally: &mut Tally,
) {
    let mut renames_lost: BTreeMap<PathBuf, (PathBuf, Node)> = BTreeMap::new();
    for change in changes {
        let lost = rng.coin();
        tally.fault("names lost", u64::from(lost));
        match change {
            Change::Rename(from, to, node) if lost => {
                if rng.coin() {
                    tree.insert(to, node);
                } else {
                    renames_lost.insert(from, (to, node));
                }
            }
            _ if lost => {}
            change => {
                // A file never loses both of its names: a removal of the old one leaves the new one.
                if let Some((to, node)) = renames_lost.remove(change.target()) {
                    tree.insert(to, node);
                }
                change.apply(tree);
            }
        }
    }
}

/// What lay in a directory that is gone is gone. Parents sort before their children.
fn drop_orphans(tree: &mut Tree) {
    let mut dirs = BTreeSet::new();
    tree.retain(|path, node| {
        let held = path.parent().is_none_or(|parent| dirs.contains(parent));
        if held && matches!(node, Node::Dir) {
            dirs.insert(path.clone());
        }
        held
    });
}

/// Draws the bytes of each file once; a file under a second name becomes a file of its own.
fn settle_files(tree: &mut Tree, rng: &mut Rng, tally: &mut Tally) {
    let mut settled = BTreeSet::new();
    for (path, node) in tree {
        let Node::File(inode) = node else { continue };
        if settled.insert(Rc::as_ptr(inode)) {
            inode.borrow_mut().lose_power(rng, tally);
        } else {
            let copy = inode.borrow().clone();
            *inode = Rc::new(RefCell::new(copy));
        }
        inode.borrow_mut().name.clone_from(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(path: &str) -> &Path {
        Path::new(path)
    }

    /// `/d` with a synced file `/d/a` whose one byte is 1.
    fn names() -> Names {
        let mut names = Names::new();
        names.create_dir(p("/d"), 1).unwrap();
        let inode = names.create(p("/d/a"), 2).unwrap();
        inode.borrow_mut().write(0, &[1], None, || true);
        names.sync_dir(p("/d"), 3).unwrap();
        names.sync_dir(p("/"), 3).unwrap();
        names
    }

    fn listed(names: &Names, dir: &str) -> Vec<String> {
        names
            .children(p(dir))
            .map(|(path, _)| path.display().to_string())
            .collect()
    }

    fn outcomes(act: impl Fn(&mut Names)) -> BTreeSet<Vec<String>> {
        (0..200)
            .map(|seed| {
                let mut names = names();
                act(&mut names);
                names.lose_power(&mut Rng::new(seed), &mut Tally::default());
                listed(&names, "/d")
            })
            .collect()
    }

    fn expect(lists: &[&[&str]]) -> BTreeSet<Vec<String>> {
        let owned = |list: &&[&str]| list.iter().map(ToString::to_string).collect();
        lists.iter().map(owned).collect()
    }

    #[test]
    fn synced_names_survive_with_their_directories() {
        assert_eq!(outcomes(|_| {}), expect(&[&["/d/a"]]));
    }

    #[test]
    fn a_synced_tree_survives_with_all_that_is_in_it() {
        let mut names = names();
        names.create_dir(p("/d/e"), 4).unwrap();
        names.create_dir(p("/d/e/f"), 4).unwrap();
        let inode = names.create(p("/d/e/f/b"), 5).unwrap();
        names.remove_file(p("/d/a"), 6).unwrap();
        assert_eq!(names.files_below(p("/d/e")).len(), 1);
        inode.borrow_mut().write(0, &[1], None, || true);
        names.sync_tree(p("/d"), 7).unwrap();
        names.create(p("/d/e/c"), 8).unwrap();
        names.lose_power(&mut Rng::new(1), &mut Tally::default());
        assert_eq!(listed(&names, "/d/e/f"), ["/d/e/f/b"]);
        assert_eq!(names.find(p("/d/a")).map(|_| ()), None);
    }

    #[test]
    fn a_synced_directory_says_nothing_of_its_own_name() {
        let found = outcomes(|names| {
            names.create_dir(p("/d/e"), 4).unwrap();
            names.create(p("/d/e/f"), 5).unwrap();
            names.sync_dir(p("/d/e"), 6).unwrap();
        });
        assert_eq!(found, expect(&[&["/d/a"], &["/d/a", "/d/e"]]));
    }

    #[test]
    fn an_unsynced_creation_or_removal_may_have_happened_or_not() {
        let created = outcomes(|names| {
            names.create(p("/d/b"), 4).unwrap();
        });
        assert_eq!(created, expect(&[&["/d/a"], &["/d/a", "/d/b"]]));
        let removed = outcomes(|names| names.remove_file(p("/d/a"), 4).unwrap());
        assert_eq!(removed, expect(&[&["/d/a"], &[]]));
    }

    #[test]
    fn an_unsynced_rename_leaves_either_name_or_both_but_never_none() {
        let all = expect(&[&["/d/a"], &["/d/b"], &["/d/a", "/d/b"]]);
        assert_eq!(
            outcomes(|names| names.rename(p("/d/a"), p("/d/b"), 4).unwrap()),
            all
        );
        let synced = outcomes(|names| {
            names.rename(p("/d/a"), p("/d/b"), 4).unwrap();
            names.sync_dir(p("/d"), 5).unwrap();
        });
        assert_eq!(synced, expect(&[&["/d/b"]]));
        let too_late = outcomes(|names| {
            names.rename(p("/d/a"), p("/d/b"), 6).unwrap();
            names.sync_dir(p("/d"), 5).unwrap();
        });
        assert_eq!(too_late, all);
    }

    #[test]
    fn a_file_whose_old_name_is_taken_keeps_the_new_one() {
        for seed in 0..200 {
            let mut names = names();
            names.rename(p("/d/a"), p("/d/b"), 4).unwrap();
            names.create(p("/d/a"), 5).unwrap();
            names.lose_power(&mut Rng::new(seed), &mut Tally::default());
            let kept = names.files().any(|inode| inode.borrow().len() == 1);
            assert!(kept, "seed {seed}: {:?}", listed(&names, "/d"));
        }
    }

    #[test]
    fn two_names_after_a_power_cut_are_two_files() {
        let both = (0..200).any(|seed| {
            let mut names = names();
            names.rename(p("/d/a"), p("/d/b"), 4).unwrap();
            names.lose_power(&mut Rng::new(seed), &mut Tally::default());
            let files: Vec<_> = names.files().cloned().collect();
            if files.len() == 2 {
                files[0].borrow_mut().write(0, &[9], None, || true);
                let mut byte = [0];
                files[1].borrow().read(0, &mut byte);
                assert_eq!(byte, [1]);
            }
            files.len() == 2
        });
        assert!(both);
    }

    #[test]
    fn between_directories_the_new_name_may_be_durable_before_the_old_one_is_gone() {
        let found = outcomes(|names| {
            names.create_dir(p("/e"), 4).unwrap();
            names.sync_dir(p("/"), 4).unwrap();
            names.rename(p("/d/a"), p("/e/a"), 5).unwrap();
            names.sync_dir(p("/e"), 6).unwrap();
        });
        assert_eq!(found, expect(&[&["/d/a"], &[]]));
    }

    #[test]
    fn errors_are_those_of_the_kernel() {
        let mut names = names();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(
            kind(names.remove_dir(p("/d"), 4)),
            io::ErrorKind::DirectoryNotEmpty
        );
        assert_eq!(
            kind(names.remove_dir(p("/d/a"), 4)),
            io::ErrorKind::NotADirectory
        );
        assert_eq!(
            kind(names.create(p("/x/y"), 4).map(drop)),
            io::ErrorKind::NotFound
        );
        assert_eq!(
            kind(names.create_dir(p("/d/a/b"), 4).map(drop)),
            io::ErrorKind::NotADirectory
        );
        assert_eq!(
            kind(names.file(p("/d")).map(drop)),
            io::ErrorKind::IsADirectory
        );
    }
}
