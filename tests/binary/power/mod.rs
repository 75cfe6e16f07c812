//! Protects the promise of an acknowledgement against the disk: the built binary on the real kernel, on a file system that forgets
//! what was not flushed, fails, fills up and stalls. What the simulator says of the store is only worth something if the
//! flags and calls that reach the kernel are the ones that it assumes.
//!
//! Needs FUSE (/dev/fuse, and the right to mount: root in most containers); prints a note where it is missing, and fails then if
//! `RINGMQ_REQUIRE_FUSE` is set. `POWER_ROUNDS=n` cuts the power n times a test instead of a few.

pub mod disk;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::client::{Client, send_to};
use crate::common::ledger::Ledger;
use crate::common::random::Random;
use crate::common::sandbox::NO_URING_NO_DSYNC;
use crate::common::{Broker, Options, SMALL, free_ports, wait_until};
use disk::{Disk, Fault, Kind, Mounted};
use ringmq::ring::linux::is_locked;
use ringmq::wire::codes::{request, response};
use ringmq::wire::loose_json;
use ringmq::wire::stats::KvTable;

/// Acknowledgements to wait for before the power is cut.
const ROUND: usize = 300;

/// Nothing goes to make room.
const CAREFUL: &str = "mappedFileSizeCommitLog=8388608\nlogBufferBytes=16777216\nconsumeQueueMemoryBytes=16777216\ncleanFileForciblyEnable=false\n";

/// As much as several log files, queues and index need.
const CAPACITY_BYTES: u64 = 1 << 30;

/// A mount point with a disk of its own.
pub struct Machine {
    pub disk: Disk,
    mounted: Option<Mounted>,
    folder: tempfile::TempDir,
    options: Options<'static>,
}

impl Machine {
    /// `None` where file systems cannot be mounted.
    fn new(flush: &'static str, config: &'static str) -> Option<Machine> {
        let options = Options {
            flush,
            config,
            ..Options::default()
        };
        Machine::with(Disk::new(CAPACITY_BYTES), options)
    }

    pub fn with(disk: Disk, options: Options<'static>) -> Option<Machine> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = match disk.mount(folder.path()) {
            Ok(mounted) => Some(mounted),
            Err(error) if std::env::var_os("RINGMQ_REQUIRE_FUSE").is_some() => {
                panic!("FUSE is required and does not work: {error}")
            }
            Err(error) => {
                eprintln!(
                    "SKIP: FUSE does not work here ({error}); it needs /dev/fuse and the right to mount"
                );
                return None;
            }
        };
        Some(Machine {
            disk,
            mounted,
            folder,
            options: Options {
                ports: Some(free_ports()),
                ..options
            },
        })
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn start(&self) -> Broker {
        Broker::start(&self.store(), &self.options)
    }

    /// What is not flushed goes; of a broker that has been killed.
    fn cut_power(&mut self, random: &mut Random) {
        self.mounted = None;
        self.disk.lose_power(random);
        let mounted = self.disk.mount(self.folder.path());
        self.mounted = Some(mounted.expect("it was mounted before"));
    }
}

fn rounds(usual: u64) -> u64 {
    let given = std::env::var("POWER_ROUNDS").ok();
    given.and_then(|given| given.parse().ok()).unwrap_or(usual)
}

#[test]
fn a_power_cut_takes_nothing_acknowledged_in_sync_mode() {
    if let Some(machine) = Machine::new("sync", SMALL) {
        cut_again_and_again(machine, rounds(5));
    }
}

/// Without io_uring; on a file system without O_DIRECT, with and without io_uring; without flushed writes.
#[test]
fn a_power_cut_takes_nothing_acknowledged_whatever_the_place_lacks() {
    for (io, has_direct_io, forbidden) in [
        ("portable", true, &[][..]),
        ("portable", false, &[]),
        ("auto", false, &[]),
        ("auto", true, NO_URING_NO_DSYNC),
    ] {
        let disk = match has_direct_io {
            true => Disk::new(CAPACITY_BYTES),
            false => Disk::new(CAPACITY_BYTES).without_direct_io(),
        };
        let options = Options {
            flush: "sync",
            io: Some(io),
            forbidden,
            ..Options::small()
        };
        let Some(machine) = Machine::with(disk, options) else {
            return;
        };
        let log = cut_again_and_again(machine, rounds(4) / 2);
        assert_eq!(log.contains("no O_DIRECT"), !has_direct_io, "{log}");
    }
}

/// The log of the last start.
fn cut_again_and_again(mut machine: Machine, rounds: u64) -> String {
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        let broker = machine.start();
        ledger.check(broker.addr());
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(ROUND);
        broker.kill();
        ledger.close(load);
        machine.cut_power(&mut Random::new(round));
    }
    let broker = machine.start();
    ledger.check(broker.addr());
    let ended = broker.stop("TERM");
    assert!(ended.status.success(), "{ended:#?}");
    ended.err
}

/// A write that is in flight when the process is killed reaches the disk later: until then the next process must not append there.
#[test]
fn a_killed_broker_holds_its_store_until_its_last_write_has_ended() {
    for io in ["auto", "portable"] {
        let options = Options {
            flush: "sync",
            io: Some(io),
            ..Options::small()
        };
        let Some(machine) = Machine::with(Disk::new(CAPACITY_BYTES), options) else {
            return;
        };
        let mut ledger = Ledger::default();
        let broker = machine.start();
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(ROUND);
        let hold = Held::writes(&machine.disk, "00000000000");
        wait_until("a write that waits", || machine.disk.held() > 0);
        let lock = machine.store().join("lock");
        broker.signal("KILL");
        std::thread::sleep(Duration::from_millis(500));
        assert!(is_locked(&lock).expect("the lock is there"), "{io}");
        drop(hold);
        broker.kill();
        ledger.close(load);
        let broker = machine.start();
        ledger.check(broker.addr());
        assert!(broker.terminate().success());
    }
}

/// Waits until all that was sent before is flushed: for three flushes of a file, with a message before each. A round of flushes has
/// two files here at most, so the last one is of a round that began after all that was written earlier.
fn until_flushed(broker: &Broker) {
    let mut client = Client::connect(broker.addr());
    for _ in 0..3 {
        let before = log_flushes(&mut client);
        client.send(&send_to("Flushed", 0), b"x").ok();
        wait_until("a flush of the log", || log_flushes(&mut client) > before);
    }
}

fn log_flushes(client: &mut Client) -> u64 {
    let reply = client.ask(request::GET_BROKER_RUNTIME_INFO, &[], &[]).ok();
    let info: KvTable = loose_json::from_slice(&reply.body).expect("a table");
    info.table["ringmqLogFlushes"].parse().expect("a number")
}

#[test]
fn a_power_cut_takes_the_last_moment_at_most_in_async_mode() {
    let Some(mut machine) = Machine::new("async", SMALL) else {
        return;
    };
    let mut ledger = Ledger::default();
    let mut lost = 0;
    for round in 0..rounds(4) {
        let broker = machine.start();
        lost += ledger.settle(broker.addr());
        ledger.check(broker.addr());
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(ROUND);
        load.stop();
        ledger.close(load);
        until_flushed(&broker);
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(ROUND);
        broker.kill();
        ledger.close_unsure(load);
        machine.cut_power(&mut Random::new(round));
    }
    let broker = machine.start();
    lost += ledger.settle(broker.addr());
    ledger.check(broker.addr());
    eprintln!("{lost} messages of the last moments were lost");
    assert!(broker.terminate().success());
}

/// After an error the state of the device is unknown: the shard refuses sends with the reason, and still serves reads.
#[test]
fn an_error_of_the_log_fences_and_loses_nothing() {
    for (flush, kind) in [
        ("sync", Kind::Write),
        ("sync", Kind::Flush),
        ("async", Kind::Write),
        ("async", Kind::Flush),
    ] {
        let Some(mut machine) = Machine::new(flush, SMALL) else {
            return;
        };
        let mut ledger = Ledger::default();
        let broker = machine.start();
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(ROUND);
        load.stop();
        ledger.close(load);
        if flush == "async" {
            until_flushed(&broker);
        }
        machine.disk.inject(Some(Fault {
            // The log's files are named by their positions.
            on: "00000000000",
            kind,
        }));
        let mut client = Client::connect(broker.addr());
        let mut send = || {
            let send = send_to("Other", 0);
            let reply = client.ask(request::SEND_MESSAGE_V2, &send.ext(), b"8 bytes.");
            (reply.code, reply.remark)
        };
        // In async mode the first ones are acknowledged before a flush fails.
        wait_until("a refusal", || send().0 != response::SUCCESS);
        let (code, remark) = send();
        assert_eq!(code, response::SERVICE_NOT_AVAILABLE, "{remark}");
        assert!(remark.contains("os error 5"), "{remark}");
        assert!(machine.disk.faults() > 0);
        machine.disk.inject(None);
        assert_eq!(
            send().0,
            response::SERVICE_NOT_AVAILABLE,
            "nothing is tried again"
        );
        ledger.check(broker.addr());
        broker.kill();
        machine.cut_power(&mut Random::new(1));
        let broker = machine.start();
        ledger.check(broker.addr());
        assert!(broker.terminate().success());
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let Some(machine) = Machine::new("sync", CAREFUL) else {
        return;
    };
    let fill = || machine.disk.resize(machine.disk.used_bytes());
    let free = || machine.disk.resize(CAPACITY_BYTES);
    fills_up(&machine.store(), &machine.options, fill, free);
}

#[test]
fn a_full_ext4_refuses_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(ext4) = Ext4::make(folder.path(), 400 << 20) else {
        return;
    };
    let options = Options {
        flush: "sync",
        config: CAREFUL,
        ports: Some(free_ports()),
        ..Options::default()
    };
    let filler = ext4.mounted_at.join("filler");
    let fill = || {
        // Blocks are given out as they are written, so until there are none.
        let mut file = std::fs::File::create(&filler).expect("the disk has room");
        while file.write_all(&[1; 1 << 16]).is_ok() {}
    };
    let free = || std::fs::remove_file(&filler).expect("the filler is there");
    fills_up(&ext4.mounted_at.join("store"), &options, fill, free);
}

fn fills_up(store: &Path, options: &Options<'_>, fill: impl FnOnce(), free: impl FnOnce()) {
    let mut ledger = Ledger::default();
    let broker = Broker::start(store, options);
    let load = ledger.start_load(broker.addr());
    load.until_acknowledged(ROUND);
    fill();
    let mut client = Client::connect(broker.addr());
    let mut send = || {
        let send = send_to("Other", 0);
        let reply = client.ask(request::SEND_MESSAGE_V2, &send.ext(), &[0; 1000]);
        (reply.code, reply.remark)
    };
    wait_until("a refusal", || send().0 != response::SUCCESS);
    load.stop();
    ledger.close(load);
    let (code, remark) = send();
    assert_eq!(code, response::SERVICE_NOT_AVAILABLE, "{remark}");
    ledger.check(broker.addr());
    free();
    wait_until("sends go on", || send().0 == response::SUCCESS);
    broker.kill();
    let broker = Broker::start(store, options);
    ledger.check(broker.addr());
    assert!(broker.terminate().success());
}

/// A small file system in a file; unmounted when dropped.
struct Ext4 {
    mounted_at: PathBuf,
}

impl Ext4 {
    /// `None` where that may not be mounted.
    fn make(folder: &Path, bytes: u64) -> Option<Ext4> {
        let (image, mounted_at) = (folder.join("image"), folder.join("mounted"));
        let file = std::fs::File::create(&image).expect("the folder is writable");
        file.set_len(bytes).expect("a sparse file");
        std::fs::create_dir(&mounted_at).expect("the folder is writable");
        let works = |command: &mut Command| {
            let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        let is_mounted = works(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && works(
                Command::new("mount")
                    .args(["-o", "loop"])
                    .arg(&image)
                    .arg(&mounted_at),
            );
        if !is_mounted {
            eprintln!(
                "SKIP: an ext4 file system cannot be made and mounted here (mkfs.ext4, mount -o loop)"
            );
            return None;
        }
        Some(Ext4 { mounted_at })
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        disk::unmount(&self.mounted_at);
    }
}

#[test]
fn a_disk_that_stalls_loses_nothing() {
    let Some(machine) = Machine::new("sync", SMALL) else {
        return;
    };
    let mut ledger = Ledger::default();
    let broker = machine.start();
    let load = ledger.start_load(broker.addr());
    load.until_acknowledged(ROUND);
    let stall = |time| {
        machine.disk.inject(Some(Fault {
            on: "00000000000",
            kind: Kind::Stall(time),
        }));
        let before = machine.disk.faults();
        wait_until("a stalled write", || machine.disk.faults() > before);
        machine.disk.inject(None);
    };
    stall(Duration::from_secs(1));
    load.until_acknowledged(2 * ROUND);
    load.stop();
    ledger.close(load);
    ledger.check(broker.addr());
    broker.kill();
    let broker = machine.start();
    ledger.check(broker.addr());
    assert!(broker.terminate().success());
}

/// A journal that is full holds renames and lengths for seconds: the core answers what does not need them.
#[test]
fn names_that_take_long_hold_up_nothing_else() {
    let Some(machine) = Machine::new("sync", SMALL) else {
        return;
    };
    let broker = machine.start();
    let mut client = Client::connect(broker.addr());
    client.send(&send_to("Held", 0), b"before").ok();
    // Saves the group, which a first heartbeat waits for.
    client.heartbeat("client", "group", &["Held"]).ok();
    let hold = Held::names(&machine.disk);
    // A topic is saved by a rename, so its send is not answered yet.
    let mut waiting = Client::connect(broker.addr());
    let new = send_to("New", 0);
    let opaque = waiting.post(request::SEND_MESSAGE_V2, &new.ext(), b"new");
    wait_until("a change of names that waits", || machine.disk.held() > 0);
    for body in [b"first", b"other"] {
        client.send(&send_to("Held", 0), body).ok();
    }
    assert_eq!(client.read_queue("Held", 0).len(), 3);
    client.heartbeat("client", "group", &["Held"]).ok();
    assert!(machine.disk.held() > 0, "nothing was held any more");
    drop(hold);
    let answer = waiting.receive().expect("an answer");
    assert_eq!(answer.opaque, opaque);
    answer.ok();
    assert!(broker.terminate().success());
}

/// What waits until this is dropped, also by a failure: a process that waits for the disk cannot be killed.
struct Held(Disk);

impl Held {
    fn names(disk: &Disk) -> Held {
        disk.hold_names(true);
        Held(disk.clone())
    }

    fn writes(disk: &Disk, on: &'static str) -> Held {
        disk.hold_writes(Some(on));
        Held(disk.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.hold_names(false);
        self.0.hold_writes(None);
    }
}
