//! Files and their names.

use std::io::ErrorKind;
use std::path::Path;

use super::poll_once;
use crate::io::{Durability, File, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES, IoBuf};

const DIRECT: OpenOptions = OpenOptions {
    write: true,
    create: true,
    direct: true,
};
const BUFFERED: OpenOptions = OpenOptions {
    direct: false,
    ..DIRECT
};
const READ_ONLY: OpenOptions = OpenOptions {
    write: false,
    create: false,
    direct: false,
};

pub async fn direct_files_round_trip<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), DIRECT).await.unwrap();
    assert_eq!(file.len_bytes().await.unwrap(), 0);
    file.allocate(8 * BLOCK_BYTES as u64).await.unwrap();
    assert_eq!(file.len_bytes().await.unwrap(), 8 * BLOCK_BYTES as u64);
    assert_eq!(read(&file, 0, 8 * BLOCK_BYTES).await, [0; 8 * BLOCK_BYTES]);

    let mut blocks = AlignedBuf::zeroed(2 * BLOCK_BYTES);
    blocks.fill(1);
    let blocks = write(&file, blocks, BLOCK_BYTES as u64, Durability::Written).await;
    assert!(blocks.iter().all(|&b| b == 1), "the same buffer comes back");
    let mut log = io.log_buffer(4 * BLOCK_BYTES).unwrap();
    log.write(0, BLOCK_BYTES).fill(2);
    let slice = log.slice(0, BLOCK_BYTES);
    write(&file, slice, 2 * BLOCK_BYTES as u64, Durability::Synced).await;
    let slice = log.slice(0, BLOCK_BYTES);
    write(&file, slice, 7 * BLOCK_BYTES as u64, Durability::Written).await;
    file.sync_data().await.unwrap();
    io.sync_dir(dir).await.unwrap();

    let reopened = io.open(&dir.join("f"), READ_ONLY).await.unwrap();
    let bytes = read(&reopened, 0, 8 * BLOCK_BYTES).await;
    let firsts: Vec<u8> = bytes.chunks(BLOCK_BYTES).map(|block| block[0]).collect();
    assert_eq!(
        firsts,
        [0, 1, 2, 0, 0, 0, 0, 2],
        "registered: {}",
        log.is_registered()
    );
    for block in bytes.chunks(BLOCK_BYTES) {
        assert!(block.iter().all(|&b| b == block[0]));
    }
    file.resize(BLOCK_BYTES as u64).await.unwrap();
    file.resize(3 * BLOCK_BYTES as u64).await.unwrap();
    let bytes = read(&file, 0, 8 * BLOCK_BYTES).await;
    assert_eq!(bytes, [0; 3 * BLOCK_BYTES], "cut off, then a hole");
}

pub async fn buffered_files_round_trip<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), BUFFERED).await.unwrap();
    write(&file, b"hello world".to_vec(), 0, Durability::Written).await;
    let clone = file.clone();
    drop(file);
    write(&clone, b"W".to_vec(), 6, Durability::Synced).await;
    write(&clone, b"!".to_vec(), 600, Durability::Written).await;
    clone.sync_data().await.unwrap();
    assert_eq!(clone.len_bytes().await.unwrap(), 601);
    let bytes = read(&clone, 0, BLOCK_BYTES).await;
    assert_eq!(bytes.len(), 601);
    assert_eq!(bytes[..11], *b"hello World");
    assert_eq!(bytes[11..600], [0; 589]);
    assert_eq!(bytes[600], b'!');
    assert_eq!(read(&clone, 601, 10).await, b"");
    let read_only = io.open(&dir.join("f"), READ_ONLY).await.unwrap();
    let (refused, _) = read_only
        .write_at(b"no".to_vec(), 0, Durability::Written)
        .await;
    refused.unwrap_err();
    assert_eq!(read(&read_only, 0, 5).await, b"hello");
}

pub async fn direct_files_want_alignment<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), DIRECT).await.unwrap();
    file.allocate(4 * BLOCK_BYTES as u64).await.unwrap();
    // Of bytes that were never written Linux reads zeros wherever they begin.
    let blocks = AlignedBuf::zeroed(4 * BLOCK_BYTES);
    write(&file, blocks, 0, Durability::Written).await;
    let block = AlignedBuf::zeroed(BLOCK_BYTES);
    let (odd_offset, block) = file.write_at(block, 100, Durability::Written).await;
    assert_eq!(odd_offset.unwrap_err().kind(), ErrorKind::InvalidInput);
    let (odd_len, _) = file.write_at(vec![1; 100], 0, Durability::Written).await;
    assert_eq!(odd_len.unwrap_err().kind(), ErrorKind::InvalidInput);
    let (odd_read, _) = file.read_at(block, BLOCK_BYTES, 100).await;
    assert_eq!(odd_read.unwrap_err().kind(), ErrorKind::InvalidInput);
}

pub async fn a_lock_has_one_holder<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let path = dir.join("lock");
    let held = io.lock(&path, "ours").unwrap();
    let refused = io.lock(&path, "mine").err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    let file = io.open(&path, READ_ONLY).await.unwrap();
    assert_eq!(read(&file, 0, 10).await, b"ours");
    drop(held);
    io.lock(&path, "mine").unwrap();
    let held = io.lock_dir(dir).unwrap();
    let refused = io.lock_dir(dir).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    drop(held);
    io.lock_dir(dir).unwrap();
    assert_eq!(io.list(dir).await.unwrap().len(), 1, "only the lock file");
}

pub async fn names_come_and_go<I: Io>(io: &I, dir: &Path) {
    assert_eq!(
        io.list(dir).await.unwrap(),
        [],
        "a directory that is not there"
    );
    let deep = dir.join("a/b");
    io.create_dir_all(&deep).await.unwrap();
    io.create_dir_all(&deep).await.unwrap();
    assert!(!io.create_dir(&deep).await.unwrap(), "it is there");
    assert!(io.create_dir(&deep.join("c")).await.unwrap(), "it is made");
    io.remove_dir(&deep.join("c")).await.unwrap();
    let orphan = io.create_dir(&dir.join("none/c")).await.unwrap_err();
    assert_eq!(orphan.kind(), ErrorKind::NotFound);
    let missing = io.open(&dir.join("none"), READ_ONLY).await;
    // The store tells a lack of descriptors from a failure of the device by the number, as not every one has a kind.
    assert_eq!(missing.err().unwrap().raw_os_error(), Some(libc::ENOENT));
    for name in ["2", "1", "10"] {
        let file = io.open(&dir.join(name), BUFFERED).await.unwrap();
        write(&file, name.as_bytes().to_vec(), 0, Durability::Written).await;
    }
    let taken = io.create_dir(&dir.join("1")).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    let within_a_file = io.create_dir_all(&dir.join("1/c")).await.unwrap_err();
    assert_eq!(within_a_file.kind(), ErrorKind::NotADirectory);
    io.rename(&dir.join("1"), &dir.join("2")).await.unwrap();
    io.sync_dir(dir).await.unwrap();
    let listed: Vec<_> = io.list(dir).await.unwrap();
    let listed = listed
        .iter()
        .map(|entry| (entry.path.strip_prefix(dir).unwrap(), entry.is_dir));
    let listed: Vec<_> = listed
        .map(|(path, d)| (path.to_str().unwrap(), d))
        .collect();
    assert_eq!(listed, [("10", false), ("2", false), ("a", true)]);
    assert_eq!(io.list(dir).await.unwrap()[0].len_bytes, 2);
    let renamed = io.open(&dir.join("2"), READ_ONLY).await.unwrap();
    assert_eq!(
        read(&renamed, 0, 10).await,
        b"1",
        "it replaces what was there"
    );

    let full = io.remove_dir(&dir.join("a")).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
    io.remove_dir(&deep).await.unwrap();
    io.remove_dir(&dir.join("a")).await.unwrap();
    io.remove_file(&dir.join("2")).await.unwrap();
    let again = io.remove_file(&dir.join("2")).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    assert_eq!(
        read(&renamed, 0, 10).await,
        b"1",
        "open files outlive their names"
    );
    assert_eq!(io.list(dir).await.unwrap().len(), 1);
    let space = io.space(dir).await.unwrap();
    assert!(space.available_bytes <= space.total_bytes);
}

pub async fn dropped_disk_operations_give_nothing_back<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), DIRECT).await.unwrap();
    let len = 128 * BLOCK_BYTES;
    file.allocate(len as u64).await.unwrap();
    for pair in (0..len).step_by(2 * BLOCK_BYTES) {
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        buf.fill(1);
        poll_once(file.write_at(buf, pair as u64, Durability::Synced)).await;
        poll_once(file.read_at(AlignedBuf::zeroed(BLOCK_BYTES), BLOCK_BYTES, pair as u64)).await;
        // Likely gets the memory that was just given up, if it was given up too early.
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        buf.fill(2);
        let next = (pair + BLOCK_BYTES) as u64;
        let buf = write(&file, buf, next, Durability::Written).await;
        assert!(buf.iter().all(|&b| b == 2), "a dropped read wrote into it");
    }
    for (n, block) in read(&file, 0, len).await.chunks(BLOCK_BYTES).enumerate() {
        let expected: &[u8] = if n % 2 == 0 { &[0, 1] } else { &[2] };
        assert!(block.iter().all(|b| expected.contains(b)), "block {n}");
    }
}

async fn read<F: File>(file: &F, offset: u64, len: usize) -> Vec<u8> {
    let buf = AlignedBuf::with_room_for(len);
    let (read, buf) = file.read_at(buf, len, offset).await;
    buf[..read.unwrap()].to_vec()
}

async fn write<F: File, B: IoBuf>(file: &F, buf: B, offset: u64, durability: Durability) -> B {
    let (written, buf) = file.write_at(buf, offset, durability).await;
    written.unwrap();
    buf
}
