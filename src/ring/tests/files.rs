//! Files in a temporary directory.

use super::*;
use std::os::fd::AsRawFd;

use crate::mem::{BLOCK_BYTES, LogBuffer};
use crate::ring::is_locked;

#[test]
fn log_slices_reach_the_disk() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = ring.open(&path, DIRECT).await.unwrap();
        file.allocate(1 << 20).await.unwrap();
        assert_eq!(file.len_bytes().await.unwrap(), 1 << 20);
        let mut log = LogBuffer::new(1 << 20).unwrap();
        for registered in [false, true] {
            let granted = registered && ring.register(&log);
            println!("{}", ring.capabilities());
            if registered {
                assert_eq!(ring.register(&log), granted, "twice is once");
            }
            for durability in [Durability::Written, Durability::Synced] {
                let seed = usize::from(registered) * 2 + durability as usize;
                let bytes = pattern(5 * BLOCK_BYTES, seed);
                log.write(8192, bytes.len()).copy_from_slice(&bytes);
                let slice = log.slice(8192, bytes.len());
                let (result, slice) = file.write_at(slice, 4096, durability).await;
                result.unwrap();
                assert_eq!(slice.len(), bytes.len());
                file.sync_data().await.unwrap();
                let buf = AlignedBuf::zeroed(8 * BLOCK_BYTES);
                let (read, buf) = file.read_at(buf, bytes.len(), 4096).await;
                assert_eq!(read.unwrap(), bytes.len());
                assert_eq!(&buf[..bytes.len()], bytes);
                assert!(buf[bytes.len()..].iter().all(|&b| b == 0));
            }
        }
        // The end of the file, which is ragged after a cut.
        file.resize(4096 + 100).await.unwrap();
        let (read, _) = file.read_at(AlignedBuf::zeroed(16384), 16384, 0).await;
        assert_eq!(read.unwrap(), 4196);
        let (read, _) = file.read_at(AlignedBuf::zeroed(4096), 4096, 1 << 20).await;
        assert_eq!(read.unwrap(), 0);
    });
}

#[test]
fn other_buffers_reach_the_disk_too() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offsets.json");
        let options = OpenOptions {
            direct: false,
            ..DIRECT
        };
        let file = ring.open(&path, options).await.unwrap();
        let bytes = pattern(10_001, 1);
        let (result, bytes) = file.write_at(bytes, 3, Durability::Synced).await;
        result.unwrap();
        let aligned = AlignedBuf::zeroed(4096);
        let (result, _) = file.write_at(aligned, 10_004, Durability::Written).await;
        result.unwrap();
        let (read, buf) = file.read_at(AlignedBuf::zeroed(16384), 16384, 0).await;
        assert_eq!(read.unwrap(), 14_100);
        assert_eq!(&buf[3..10_004], bytes);
        let (result, _) = file.write_at(Vec::new(), 0, Durability::Written).await;
        result.unwrap();
        let read_only = ring.open(&path, OpenOptions::default()).await.unwrap();
        let (result, bytes) = read_only.write_at(bytes, 0, Durability::Written).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(bytes.len(), 10_001);
    });
}

#[test]
fn names_and_space() {
    on_ring(small(), async |ring| {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        assert!(ring.list(&dir).await.unwrap().is_empty());
        ring.create_dir_all(&dir).await.unwrap();
        for name in ["2", "1"] {
            ring.open(&dir.join(name), DIRECT).await.unwrap();
        }
        ring.rename(&dir.join("2"), &dir.join("0")).await.unwrap();
        ring.sync_dir(&dir).await.unwrap();
        ring.sync_tree(root.path()).await.unwrap();
        let gone = ring.sync_tree(&root.path().join("c")).await.unwrap_err();
        assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
        let names = ring.list(&dir).await.unwrap();
        let names: Vec<_> = names.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(names, [dir.join("0"), dir.join("1")]);
        for name in names {
            ring.remove_file(&name).await.unwrap();
        }
        ring.remove_dir(&dir).await.unwrap();
        let left = ring.list(root.path()).await.unwrap();
        assert!(left.len() == 1 && left[0].is_dir);
        let space = ring.space(root.path()).await.unwrap();
        assert!(space.available_bytes > 0 && space.available_bytes <= space.total_bytes);
    });
}

#[test]
fn a_failed_open_says_why() {
    on_ring(small(), async |ring| {
        let missing = "/nonexistent/segment".as_ref();
        let error = ring
            .open(missing, OpenOptions::default())
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let options = OpenOptions {
            direct: true,
            ..OpenOptions::default()
        };
        let error = ring.open("/proc/self/status".as_ref(), options).await;
        let error = error.err().unwrap();
        assert!(error.to_string().contains("no O_DIRECT"), "{error}");
    });
}

#[test]
fn given_up_operations_keep_their_buffers_until_the_end() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = ring.open(&path, DIRECT).await.unwrap();
        file.allocate(4 << 20).await.unwrap();
        for i in 0..50 {
            let buf = AlignedBuf::zeroed(1 << 20);
            if i % 2 == 0 {
                begin_and_drop(file.read_at(buf, 1 << 20, 0)).await;
            } else {
                begin_and_drop(file.write_at(buf, 0, Durability::Synced)).await;
            }
            begin_and_drop(ring.open(&path, DIRECT)).await;
            assert!(ring.core.slots.in_flight() > 0);
        }
        drop(file);
        settled(&ring).await;
    });
}

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

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    on_ring(small(), async |ring| {
        for path in ["/proc/foo", "/proc/foo/bar/baz"] {
            let error = ring.create_dir_all(path.as_ref()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
        }
    });
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
