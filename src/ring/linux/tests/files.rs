//! Files in a temporary directory.

use std::io;

use super::{DIRECT, begin_and_drop, pattern};
use crate::io::{Durability, File, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES, LogBuffer};
use crate::ring::linux::Machine;

pub async fn log_slices_reach_the_disk<M: Machine>(machine: M) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    let file = machine.open(&path, DIRECT).await.unwrap();
    file.allocate(1 << 20).await.unwrap();
    assert_eq!(file.len_bytes().await.unwrap(), 1 << 20);
    for registered in [false, true] {
        let log = match registered {
            true => machine.log_buffer(1 << 20),
            false => LogBuffer::new(1 << 20),
        };
        let mut log = log.unwrap();
        println!("{}", machine.capabilities());
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
    one_log_buffer_after_the_other(&machine);
    // The end of the file, which is ragged after a cut.
    file.resize(4096 + 100).await.unwrap();
    let (read, _) = file.read_at(AlignedBuf::zeroed(16384), 16384, 0).await;
    assert_eq!(read.unwrap(), 4196);
    let (read, _) = file.read_at(AlignedBuf::zeroed(4096), 4096, 1 << 20).await;
    assert_eq!(read.unwrap(), 0);
}

/// No two stores have one buffer, and what is registered is used again.
fn one_log_buffer_after_the_other<M: Machine>(machine: &M) {
    let new = || machine.log_buffer(1 << 20).unwrap();
    let (mut first, mut second) = (new(), new());
    first.write(0, 9).fill(1);
    second.write(0, 9).fill(2);
    assert_eq!(first.read(0, 9), [1; 9]);
    drop(first);
    let third = new();
    assert!(!third.is_registered() || third.read(0, 9) == [1; 9]);
    assert_eq!(second.read(0, 9), [2; 9]);
}

pub async fn other_buffers_reach_the_disk_too<M: Machine>(machine: M) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offsets.json");
    let options = OpenOptions {
        direct: false,
        ..DIRECT
    };
    let file = machine.open(&path, options).await.unwrap();
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
    let read_only = machine.open(&path, OpenOptions::default()).await.unwrap();
    let (result, bytes) = read_only.write_at(bytes, 0, Durability::Written).await;
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(bytes.len(), 10_001);
}

pub async fn names_and_space<M: Machine>(machine: M) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b");
    assert!(machine.list(&dir).await.unwrap().is_empty());
    machine.create_dir_all(&dir).await.unwrap();
    for name in ["2", "1"] {
        machine.open(&dir.join(name), DIRECT).await.unwrap();
    }
    machine
        .rename(&dir.join("2"), &dir.join("0"))
        .await
        .unwrap();
    machine.sync_dir(&dir).await.unwrap();
    machine.sync_tree(root.path()).await.unwrap();
    let gone = machine.sync_tree(&root.path().join("c")).await.unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    let names = machine.list(&dir).await.unwrap();
    let names: Vec<_> = names.iter().map(|entry| entry.path.clone()).collect();
    assert_eq!(names, [dir.join("0"), dir.join("1")]);
    for name in names {
        machine.remove_file(&name).await.unwrap();
    }
    machine.remove_dir(&dir).await.unwrap();
    let left = machine.list(root.path()).await.unwrap();
    assert!(left.len() == 1 && left[0].is_dir);
    let space = machine.space(root.path()).await.unwrap();
    assert!(space.available_bytes > 0 && space.available_bytes <= space.total_bytes);
}

pub async fn a_failed_open_says_why<M: Machine>(machine: M) {
    let missing = "/nonexistent/segment".as_ref();
    let error = machine
        .open(missing, OpenOptions::default())
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// procfs has no O_DIRECT; of files that can be written, `tests/binary` has such a file system.
pub async fn a_file_without_direct_io_keeps_the_promise_of_direct_io<M: Machine>(machine: M) {
    let options = OpenOptions {
        direct: true,
        ..OpenOptions::default()
    };
    let file = machine.open("/proc/self/status".as_ref(), options);
    let file = file.await.unwrap();
    let buf = AlignedBuf::zeroed(BLOCK_BYTES);
    let (read, buf) = file.read_at(buf, BLOCK_BYTES, 0).await;
    assert!(buf[..read.unwrap()].starts_with(b"Name:"));
    let (refused, buf) = file.read_at(buf, BLOCK_BYTES, 1).await;
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    let (refused, _) = file.read_at(buf, 100, 0).await;
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL));
}

pub async fn a_directory_that_cannot_be_made_is_an_error<M: Machine>(machine: M) {
    for path in ["/proc/foo", "/proc/foo/bar/baz"] {
        let error = machine.create_dir_all(path.as_ref()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
    }
}

pub async fn given_up_operations_keep_their_buffers_until_the_end<M: Machine>(machine: M) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = machine.open(&path, DIRECT).await.unwrap();
    file.allocate(4 << 20).await.unwrap();
    for i in 0..50 {
        let buf = AlignedBuf::zeroed(1 << 20);
        if i % 2 == 0 {
            begin_and_drop(file.read_at(buf, 1 << 20, 0)).await;
        } else {
            begin_and_drop(file.write_at(buf, 0, Durability::Synced)).await;
        }
        begin_and_drop(machine.open(&path, DIRECT)).await;
    }
}
