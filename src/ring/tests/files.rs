//! Files in a temporary directory.

use super::*;
use std::os::fd::AsRawFd;

use crate::ring::linux::is_locked;

/// The last close of a removed file may take as long as its blocks take to be freed.
#[test]
fn a_file_is_closed_by_the_kernels_workers() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removed");
        let file = ring.open(&path, DIRECT).await.unwrap();
        ring.remove_file(&path).await.unwrap();
        let number = file.descriptor.fd().as_raw_fd();
        let is_open = || std::fs::read_link(format!("/proc/self/fd/{number}"));
        let name = is_open().unwrap();
        drop(file);
        assert_eq!(is_open().unwrap(), name, "closed on this thread");
        settled(&ring).await;
        assert_ne!(is_open().ok(), Some(name), "never closed");
    });
}

#[test]
fn files_are_closed_when_the_ring_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    if let Err(why) = probe() {
        return println!("skipped: {why}");
    }
    let files = Ring::start(small(), async |ring| {
        let mut files = Vec::new();
        for n in 0..20 {
            files.push(ring.open(&path.with_extension(n.to_string()), DIRECT).await);
        }
        files.truncate(10); // these closes are not even submitted yet
        files
    });
    drop(files);
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let left = names.filter(|name| name.starts_with(dir.path())).count();
    assert_eq!(left, 0);
}

/// A killed process's descriptors are closed before its ring has ended its requests.
#[test]
fn the_ring_holds_a_lock_until_it_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    if let Err(why) = probe() {
        return println!("skipped: {why}");
    }
    let run = async |ring: Ring| {
        let lock = ring.lock(&path, "ours").unwrap();
        let on_dir = ring.lock_dir(dir.path()).unwrap();
        for lock in [lock, on_dir] {
            // SAFETY: as the kernel does at a kill; nothing uses the number again, as the lock is forgotten.
            unsafe { libc::close(lock.number()) };
            std::mem::forget(lock);
        }
        assert!(is_locked(&path).unwrap());
        let refused = ring.lock(&path, "mine").err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        let refused = ring.lock_dir(dir.path()).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    };
    Ring::start(small(), run).unwrap();
    wait_until(|| !is_locked(&path).unwrap());
}

/// The kernel ends a ring on a thread of its own.
fn wait_until(done: impl Fn() -> bool) {
    while !done() {
        thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Another shard's flush takes the report of an error away from descriptors that are opened later.
#[test]
fn a_file_system_is_flushed_by_the_same_descriptor_each_time() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let descriptor = || {
            let kept = ring.core.synced_trees.borrow();
            kept.get(dir.path()).map(|tree| tree.as_raw_fd())
        };
        let missing = ring.sync_tree(&dir.path().join("none")).await;
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        ring.sync_tree(dir.path()).await.unwrap();
        let first = descriptor();
        assert!(first.is_some());
        ring.sync_tree(dir.path()).await.unwrap();
        assert_eq!(descriptor(), first);
        assert_eq!(ring.core.synced_trees.borrow().len(), 1);
    });
}
