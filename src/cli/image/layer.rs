//! The one layer of an image: a tar file that depends on nothing but its contents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tar::{Builder, EntryType, Header};

/// RocketMQ's image has this user; volumes belong to it.
pub const UID: u64 = 3000;

#[derive(Clone, Debug)]
enum Node {
    Dir,
    File(Vec<u8>),
    Link(PathBuf),
}

#[derive(Clone, Debug)]
struct Entry {
    node: Node,
    mode: u32,
    owner: u64,
}

/// The files of a layer, in the order of their paths, so that a directory comes before what is in it.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Layer {
    pub fn dir(&mut self, path: impl AsRef<Path>, mode: u32, owner: u64) {
        self.put(path.as_ref(), Node::Dir, mode, owner);
    }

    pub fn file(&mut self, path: impl AsRef<Path>, bytes: Vec<u8>, mode: u32) {
        self.put(path.as_ref(), Node::File(bytes), mode, 0);
    }

    pub fn link(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) {
        self.put(path.as_ref(), Node::Link(target.into()), 0o777, 0);
    }

    /// Directories above it that nothing else made are root's.
    fn put(&mut self, path: &Path, node: Node, mode: u32, owner: u64) {
        let path = path.strip_prefix("/").unwrap_or(path);
        let above = path.ancestors().skip(1);
        for dir in above.filter(|dir| !dir.as_os_str().is_empty()) {
            self.entries.entry(dir.to_owned()).or_insert(Entry {
                node: Node::Dir,
                mode: 0o755,
                owner: 0,
            });
        }
        self.entries
            .insert(path.to_owned(), Entry { node, mode, owner });
    }

    /// As a tar file. No entry has a time.
    pub fn to_tar(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_uid(entry.owner);
            header.set_gid(entry.owner);
            header.set_mtime(0);
            header.set_size(0);
            match &entry.node {
                Node::Dir => {
                    header.set_entry_type(EntryType::Directory);
                    tar.append_data(&mut header, path.join(""), &[][..])?;
                }
                Node::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, &bytes[..])?;
                }
                Node::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}
