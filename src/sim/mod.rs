//! A simulator: the trait `Io` with virtual time, and with disks and a network in memory, for several hosts in one thread.
//!
//! One seed decides everything (which ready task runs next, every delay, where a stream of bytes is cut, what a power
//! cut leaves), so that a failure is replayed by its seed. It is printed whenever a test fails while a [`Sim`] lives.
//!
//! ```text
//! let sim = Sim::new(seed, SimConfig::default());
//! sim.run(async {
//!     let a = sim.host("a");                  // a process on host a; implements Io
//!     a.inject(Rule::new(Fault::Io).of(Op::Write).on("commitlog").times(1));
//!     ...
//!     sim.power_cut("a");
//!     let a = sim.host("a");                  // the next process, on what the disk still holds
//! });
//! ```
//!
//! What it models:
//! - the crash contract of `io/disk.rs`, sector by sector and name by name; a flush that failed, after which any file may
//!   have lost what was not flushed, no later flush makes up for it, and readers may see what was there before; writes that
//!   a cancellation or a crash leaves half done, and writes that outlive a kill; EIO, ENOSPC, short writes, stalls of any
//!   operation, bit rot, writes that land in another block, torn sectors that cannot be read afterwards; a process without
//!   memory, and one that has as many descriptors as it may have; the kernel's demand for alignment on direct files;
//! - TCP: streams cut anywhere, a bounded window, half-closed and reset connections, backlogs, refused and unanswered
//!   connection attempts, partitions, also of one direction; a process that is suspended; a killed process (its kernel closes its connections) and a host without power
//!   (silence, then resets once it is back);
//! - a wall clock that may be stepped, per host.
//!
//! What it does not model: threads; the page cache as something apart from the device's cache (a killed process loses
//! nothing); a device that reports a flush that it did not do; hard links; renamed directories; clocks that drift; packet
//! loss other than partitions (TCP hides it); the bounded number of received chunks that may be held.

mod clock;
#[doc(hidden)]
pub mod conformance;
mod conn;
mod counted;
mod descriptors;
mod disk;
mod env;
mod executor;
mod faults;
mod file;
mod host_disk;
mod names;
mod net;
mod network;
mod partitions;
mod pieces;
mod present;
mod process;
mod rng;
mod sectors;
mod tally;
#[cfg(test)]
mod tests;
mod trace;
mod versions;
mod world;
mod write;

use std::future::Future;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

pub use counted::in_memory;
pub use disk::SimLock;
pub use faults::{Fault, Lack, Op, Rule};
pub use file::SimFile;
pub use net::{SimChunk, SimListener, SimStream};
pub use present::{Present, present};
pub use rng::Rng;
pub use sectors::SECTOR_BYTES;
pub use tally::Tally;

use descriptors::Descriptors;
use host_disk::HostDisk;
use process::Owner;
use world::World;

/// How the world behaves when nothing is injected. Ranges are drawn from evenly.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// What the wall clocks read at the start.
    pub unix_start_ms: i64,
    /// How long one turn of one task takes.
    pub poll_cost_ns: RangeInclusive<u64>,
    pub disk_read_ns: RangeInclusive<u64>,
    pub disk_write_ns: RangeInclusive<u64>,
    pub disk_sync_ns: RangeInclusive<u64>,
    /// Opening, listing, renaming, changing the length.
    pub disk_name_ns: RangeInclusive<u64>,
    /// How much later than its process's death a direct write reaches the disk, if it does.
    pub late_write_ns: RangeInclusive<u64>,
    /// Size of each host's disk.
    pub disk_bytes: u64,
    /// One in so many torn sectors of a block that held nothing before cannot be read afterwards; 0: none.
    pub unreadable_one_in: u64,
    /// One way.
    pub net_delay_ns: RangeInclusive<u64>,
    /// Bytes that one direction of a connection holds before its sender has to wait.
    pub net_window_bytes: usize,
    /// The longest piece in which bytes travel.
    pub net_segment_bytes: usize,
    /// Connections that may wait to be accepted.
    pub net_backlog: usize,
    /// After so long without an answer a connection attempt fails.
    pub net_connect_timeout_ns: u64,
    /// Virtual time after which a run is held to be stuck.
    pub time_limit_ns: u64,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            // 2024-01-01T00:00:00Z
            unix_start_ms: 1_704_067_200_000,
            poll_cost_ns: 200..=2_000,
            // About what a virtio disk on NVMe does, with a tail.
            disk_read_ns: 20_000..=400_000,
            disk_write_ns: 15_000..=300_000,
            disk_sync_ns: 20_000..=2_000_000,
            disk_name_ns: 5_000..=100_000,
            late_write_ns: 0..=1_500_000_000,
            disk_bytes: 64 << 30,
            unreadable_one_in: 0,
            net_delay_ns: 5_000..=500_000,
            net_window_bytes: 64 << 10,
            net_segment_bytes: 16 << 10,
            net_backlog: 128,
            // Linux gives up after six retries of its SYN.
            net_connect_timeout_ns: 127_000_000_000,
            time_limit_ns: 24 * 3_600 * 1_000_000_000,
        }
    }
}

/// A world. Dropping it drops all tasks of all hosts.
pub struct Sim {
    world: Rc<World>,
}

/// One process's view of the world; implements [`crate::io::Io`].
///
/// Once its process has been ended, nothing that it begins is ever done.
#[derive(Clone)]
pub struct SimIo {
    world: Rc<World>,
    owner: Owner,
    disk: Rc<HostDisk>,
    descriptors: Rc<Descriptors>,
}

impl Sim {
    pub fn new(seed: u64, config: SimConfig) -> Self {
        Self {
            world: Rc::new(World::new(seed, config)),
        }
    }

    /// The process on the host of this name. After [`Sim::crash`] or [`Sim::power_cut`] it is a new process, started
    /// by this call, on the same disk and address.
    pub fn host(&self, name: &str) -> SimIo {
        self.world.boot(name)
    }

    /// Runs `future`, which belongs to no host, and meanwhile the tasks of all hosts, until it is done.
    ///
    /// # Panics
    /// When all tasks wait and nothing is to come, or virtual time exceeds its limit.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        present::runs(&self.world);
        self.world.run(future)
    }

    /// `kill -9`: the tasks are dropped, its kernel closes its connections, its files keep what was written to them
    /// (a write in flight: any part of it, or all of it some time later; its locks are held until then).
    pub fn crash(&self, name: &str) {
        self.world.crash(name);
    }

    /// The plug is pulled: the disk keeps what the contract in `io/disk.rs` promises and a random part of the rest, and
    /// the peers on the network do not notice.
    pub fn power_cut(&self, name: &str) {
        self.world.power_cut(name);
    }

    /// SIGSTOP: the tasks of the process do not run until [`Sim::resume`]. Its kernel goes on: connections come about, and bytes arrive up to the
    /// window. A write in flight is complete when the process runs again.
    pub fn suspend(&self, name: &str) {
        let owner = self.world.process(name);
        self.world.count_fault("processes suspended", 1);
        self.world.executor.suspend(owner);
    }

    /// SIGCONT
    pub fn resume(&self, name: &str) {
        let owner = self.world.process(name);
        self.world.executor.resume(owner);
    }

    /// Tasks of this host's process that have not ended.
    pub fn tasks(&self, name: &str) -> usize {
        self.world.tasks(name)
    }

    /// Files that this host's process has open.
    pub fn open_files(&self, name: &str) -> usize {
        self.world.descriptors(name).files()
    }

    /// Files, locks, listeners and connections that this host's process has open.
    pub fn descriptors(&self, name: &str) -> usize {
        self.world.descriptors(name).open()
    }

    /// `setrlimit(RLIMIT_NOFILE)`: this host's process, and those that come after it, may have so many descriptors. What is open stays open.
    pub fn limit_descriptors(&self, name: &str, most: usize) {
        self.world.descriptors(name).limit(most);
    }

    /// Nothing passes between the two hosts until [`Sim::heal_partition`]; nothing is lost either, as TCP sends again.
    pub fn partition(&self, a: &str, b: &str) {
        let (a, b) = (self.world.host_id(a), self.world.host_id(b));
        self.world.count_fault("partitions", 1);
        self.world.partitions.begin(a, b, self.mono_ns());
        self.world.partitions.begin(b, a, self.mono_ns());
    }

    /// Nothing passes from one host to the other until [`Sim::heal_partition`], while the other direction is open. Connections that are open
    /// go on in that direction; none comes about.
    pub fn partition_one_way(&self, from: &str, to: &str) {
        let (from, to) = (self.world.host_id(from), self.world.host_id(to));
        self.world.count_fault("partitions of one direction", 1);
        self.world.partitions.begin(from, to, self.mono_ns());
    }

    pub fn heal_partition(&self, a: &str, b: &str) {
        let (a, b) = (self.world.host_id(a), self.world.host_id(b));
        self.world.network.heal_partition(&self.world, a, b);
    }

    /// Both ends of all connections between the two hosts get a reset.
    pub fn reset_connections(&self, a: &str, b: &str) {
        let (a, b) = (self.world.host_id(a), self.world.host_id(b));
        self.world.count_fault("connections reset", 1);
        self.world.network.reset_connections(&self.world, a, b);
    }

    /// The next `times` calls of `accept` on this host fail, as if it were out of descriptors.
    pub fn fail_accepts(&self, name: &str, times: u64) {
        let host = self.world.host_id(name);
        self.world.network.fail_accepts(host, times);
    }

    /// Somebody sets this host's wall clock.
    pub fn step_unix_clock(&self, name: &str, by_ms: i64) {
        self.world.step_unix_clock(name, by_ms);
    }

    /// Somebody sets the wall clocks of all hosts, those to come included.
    pub fn step_unix_clocks(&self, by_ms: i64) {
        self.world.step_unix_clocks(by_ms);
    }

    /// What was done and what went wrong so far.
    pub fn tally(&self) -> Tally {
        self.world.tally()
    }

    pub fn mono_ns(&self) -> u64 {
        self.world.timeline.now_ns()
    }

    pub async fn sleep(&self, duration: Duration) {
        let until_ns = self.mono_ns() + duration.as_nanos() as u64;
        self.world.timeline.sleep_until(until_ns).await;
    }

    /// A choice of the test itself, from the same seed: uniform in `0..bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.world.below(bound)
    }

    /// Of everything that happened so far: equal for equal seeds.
    pub fn trace_hash(&self) -> u64 {
        self.world.trace_hash()
    }

    /// What happened last, for messages of failed tests.
    pub fn recent(&self) -> String {
        self.world.recent()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation with seed {}\n{}", self.world.seed, self.tally());
        }
        self.world.executor.clear();
    }
}
