//! The floor of this very machine, measured in the same run: no broker can be faster than a bare durable 4 KiB write
//! and a bare loopback round trip, one after the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::histogram::latency_histogram;

const BLOCK_BYTES: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;
const ZEROING_BYTES: usize = 1 << 20;
const REQUEST_BYTES: usize = 1024;
const REPLY_BYTES: usize = 16;

/// Writes of one 4 KiB block, `O_DIRECT | O_DSYNC`, one in flight, walking through a file that was written before: into
/// fresh extents each write would also pay for the filesystem's journal.
pub fn dsync_write(dir: &Path, duration: Duration) -> io::Result<Histogram<u64>> {
    let path = dir.join("floor.tmp");
    let measured = measure_writes(&path, duration);
    fs::remove_file(&path)?;
    measured
}

/// Round trips of 1 KiB there and 16 bytes back over loopback, blocking sockets, the answering thread on `echo_core`.
pub fn loopback_echo(duration: Duration, echo_core: Option<usize>) -> io::Result<Histogram<u64>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    let echo = thread::Builder::new()
        .name("floor-echo".to_owned())
        .spawn(move || {
            super::pin(echo_core);
            echo(peer)
        })?;

    stream.set_nodelay(true)?;
    let request = [7u8; REQUEST_BYTES];
    let mut reply = [0u8; REPLY_BYTES];
    let mut latency = latency_histogram();
    let end = Instant::now() + duration;
    loop {
        let start = Instant::now();
        if start >= end {
            break;
        }
        stream.write_all(&request)?;
        stream.read_exact(&mut reply)?;
        latency.saturating_record(start.elapsed().as_nanos() as u64);
    }
    drop(stream);
    echo.join()
        .map_err(|_| io::Error::other("the echo thread panicked"))??;
    Ok(latency)
}

fn echo(mut peer: TcpStream) -> io::Result<()> {
    peer.set_nodelay(true)?;
    let mut request = [0u8; REQUEST_BYTES];
    loop {
        match peer.read_exact(&mut request) {
            Ok(()) => peer.write_all(&request[..REPLY_BYTES])?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn measure_writes(path: &Path, duration: Duration) -> io::Result<Histogram<u64>> {
    let mut memory = vec![0u8; ZEROING_BYTES + BLOCK_BYTES];
    // O_DIRECT needs aligned memory: part of a larger block begins at an aligned address.
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let aligned = &mut memory[start..start + ZEROING_BYTES];

    let file = open(path, libc::O_DIRECT)?;
    for offset in (0..FILE_BYTES).step_by(ZEROING_BYTES) {
        file.write_all_at(aligned, offset)?;
    }
    file.sync_all()?;

    let file = open(path, libc::O_DIRECT | libc::O_DSYNC)?;
    aligned[..BLOCK_BYTES].fill(0xa5);
    let mut latency = latency_histogram();
    let end = Instant::now() + duration;
    for offset in (0..FILE_BYTES).step_by(BLOCK_BYTES).cycle() {
        let start = Instant::now();
        if start >= end {
            break;
        }
        file.write_all_at(&aligned[..BLOCK_BYTES], offset)?;
        latency.saturating_record(start.elapsed().as_nanos() as u64);
    }
    Ok(latency)
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_floors_give_latencies() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let writes = dsync_write(dir.path(), Duration::from_millis(50)).unwrap();
        assert!(!writes.is_empty());
        assert!(
            fs::read_dir(dir.path()).unwrap().next().is_none(),
            "the file is gone"
        );
        assert!(
            !loopback_echo(Duration::from_millis(20), None)
                .unwrap()
                .is_empty()
        );
    }
}
