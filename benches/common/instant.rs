//! A device that takes everything at once and keeps nothing, so that a store on it costs only its own CPU time.
//!
//! Time stands still: who sleeps for long sleeps for ever, and the store's regular work (saving queues, flushing, zeroing
//! far ahead) stays out of the figures. Who sleeps for a moment lets others go ahead. There is no network.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use ringmq::io::{
    Clock, DirEntry, Disk, Durability, File, Listener, Net, Now, OpenOptions, Space, Spawn, Stalls,
    Stream, TaskTime,
};
use ringmq::mem::{AlignedBuf, IoBuf, LogBuffer};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local, yield_now};

#[derive(Clone, Copy)]
pub struct Instant;

/// Runs tasks on this thread; they end when it is dropped.
pub struct Tasks {
    runtime: Runtime,
    local: LocalSet,
}

impl Tasks {
    pub fn new() -> Tasks {
        let runtime = Builder::new_current_thread().build();
        Tasks {
            runtime: runtime.expect("a runtime without drivers needs nothing"),
            local: LocalSet::new(),
        }
    }

    /// Until `main` is done; what it has spawned goes on the next time.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        self.local.block_on(&self.runtime, main)
    }
}

impl Clock for Instant {
    fn now(&self) -> Now {
        Now {
            unix_ms: super::NOW_MS,
            mono_ns: 1,
        }
    }

    fn exact_ns(&self) -> u64 {
        1
    }

    fn utc_offset_s(&self) -> i32 {
        0
    }

    async fn sleep_until(&self, mono_ns: u64) {
        match mono_ns {
            ..100_000 => yield_now().await,
            _ => pending().await,
        }
    }
}

impl Spawn for Instant {
    fn spawn(&self, _name: &'static str, task: impl Future<Output = ()> + 'static) {
        spawn_local(task);
    }

    fn watch_stalls(&self) {}

    fn stalls(&self) -> Stalls {
        Stalls::default()
    }

    fn turns(&self) -> u64 {
        0
    }

    fn task_times(&self) -> Vec<TaskTime> {
        Vec::new()
    }
}

impl Disk for Instant {
    type File = Instant;
    type Lock = ();

    fn lock(&self, _path: &Path, _text: &str) -> io::Result<()> {
        Ok(())
    }

    async fn open(&self, _path: &Path, options: OpenOptions) -> io::Result<Instant> {
        match options.create {
            true => Ok(Instant),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    async fn list(&self, _dir: &Path) -> io::Result<Vec<DirEntry>> {
        Ok(Vec::new())
    }

    async fn create_dir(&self, _dir: &Path) -> io::Result<bool> {
        Ok(false)
    }

    async fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn remove_file(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn sync_tree(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn space(&self, _dir: &Path) -> io::Result<Space> {
        Ok(Space::default())
    }

    fn log_buffer(&self, capacity_bytes: usize) -> io::Result<LogBuffer> {
        LogBuffer::new(capacity_bytes)
    }
}

impl File for Instant {
    async fn len_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    async fn read_at(
        &self,
        buf: AlignedBuf,
        _len: usize,
        _offset: u64,
    ) -> (io::Result<usize>, AlignedBuf) {
        (Ok(0), buf)
    }

    async fn write_at<B: IoBuf>(
        &self,
        buf: B,
        _offset: u64,
        _durability: Durability,
    ) -> (io::Result<()>, B) {
        (Ok(()), buf)
    }

    async fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    async fn allocate(&self, _len_bytes: u64) -> io::Result<()> {
        Ok(())
    }

    async fn resize(&self, _len_bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Nobody listens and nobody connects.
#[derive(Clone, Copy)]
pub struct Nobody(Infallible);

impl Net for Instant {
    type Listener = Nobody;
    type Stream = Nobody;

    fn listen(&self, _addr: SocketAddr) -> io::Result<Nobody> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _addr: SocketAddr) -> io::Result<Nobody> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Listener for Nobody {
    type Stream = Nobody;

    async fn accept(&self) -> io::Result<Nobody> {
        match self.0 {}
    }

    fn local_addr(&self) -> SocketAddr {
        match self.0 {}
    }
}

impl Stream for Nobody {
    type Chunk = Vec<u8>;

    async fn recv(&self) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    async fn send(&self, _buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match self.0 {}
    }

    fn shutdown(&self) {
        match self.0 {}
    }

    fn peer_addr(&self) -> SocketAddr {
        match self.0 {}
    }
}
