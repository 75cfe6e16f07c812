//! Faults of the host: its kernel, limits, ports and disk. No broker runs, unless the fault is one of its disk.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Resource;

use super::{ERROR, WARNING, doctor_of, names, names_nothing};
use crate::common::client::{Client, send_to};
use crate::common::ledger::Ledger;
use crate::common::sandbox::{NO_URING, NO_URING_KNOWN, forbid, limit};
use crate::common::{Options, free_ports, ringmq, wait_until};
use crate::power::Machine;
use crate::power::disk::{Disk, Fault, Kind};

const MIB: u64 = 1 << 20;

/// With a broker.conf of ports that are free.
fn doctor_with(folder: &Path, config: &str) -> Command {
    let file = folder.join("broker.conf");
    std::fs::write(&file, config).expect("it can be written");
    let mut command = ringmq(["doctor", "--config"]);
    command.arg(file).arg("--store").arg(folder.join("store"));
    command
}

fn free() -> String {
    let (port, namesrv_port) = free_ports();
    format!("listenPort={port}\nnamesrvPort={namesrv_port}\n")
}

#[test]
fn without_a_fault_it_names_none_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = free();
    let diagnosis = names_nothing(|| doctor_with(folder.path(), &config));
    let looked_at = diagnosis.json["lookedAt"].to_string();
    assert!(looked_at.contains("a flushed write takes"), "{looked_at}");
    assert!(looked_at.contains("no running broker"), "{looked_at}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("ours").collect();
    assert_eq!(left.len(), 1, "broker.conf alone: {left:?}");
}

/// The screen has the same.
#[test]
fn the_screen_says_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = doctor_with(folder.path(), &free());
    limit(&mut command, &[(Resource::Nofile, 300)]);
    let output = command.output().expect("the binary was built");
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "ringmq doctor: ",
        "[descriptors]",
        "  seen   ",
        "  why    ",
        "  do     ulimit -n",
        "looked at  ",
    ] {
        assert!(screen.contains(line), "no {line:?} in\n{screen}");
    }
}

#[test]
fn a_filter_that_forbids_io_uring() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = free();
    for forbidden in [NO_URING, NO_URING_KNOWN] {
        names("io-uring-forbidden", &["seccomp"], WARNING, || {
            let mut command = doctor_with(folder.path(), &config);
            forbid(&mut command, forbidden);
            command
        });
    }
}

#[test]
fn little_memory_that_may_be_locked() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = free();
    for limits in [&[(Resource::Memlock, 0)], &[(Resource::Memlock, 64 << 10)]] {
        names("memlock", &["LimitMEMLOCK"], WARNING, || {
            let mut command = doctor_with(folder.path(), &config);
            limit(&mut command, limits);
            command
        });
    }
}

#[test]
fn few_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = free();
    names("descriptors", &["300", "LimitNOFILE"], WARNING, || {
        let mut command = doctor_with(folder.path(), &config);
        limit(&mut command, &[(Resource::Nofile, 300)]);
        command
    });
}

#[test]
fn a_port_that_another_process_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = free();
    let (port, _) = config.split_once('\n').expect("two lines");
    let port: u16 = port
        .trim_start_matches("listenPort=")
        .parse()
        .expect("a number");
    let held = TcpListener::bind(("127.0.0.1", port)).expect("it is free");
    let own = format!("process {}", std::process::id());
    let subject = format!("port {port}");
    let words = [&*own, &subject, "listenPort"];
    names("port-taken", &words, ERROR, || {
        doctor_with(folder.path(), &config)
    });
    drop(held);
}

#[test]
fn a_store_that_is_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = free();
    std::fs::write(folder.path().join("store"), "").expect("it can be written");
    names("store-unusable", &["it is a file"], ERROR, || {
        doctor_with(folder.path(), &config)
    });
}

/// A disk without a broker, and a broker.conf on another one; `None` where file systems cannot be mounted.
fn mounted(disk: Disk) -> Option<(Machine, tempfile::TempDir)> {
    let machine = Machine::with(disk, Options::small())?;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("broker.conf"), free()).expect("it can be written");
    Some((machine, folder))
}

fn doctor_on((machine, folder): &(Machine, tempfile::TempDir)) -> Command {
    let mut command = doctor_of(&machine.store());
    command
        .arg("--config")
        .arg(folder.path().join("broker.conf"));
    command
}

#[test]
fn a_file_system_without_o_direct() {
    if let Some(host) = mounted(Disk::new(64 * MIB).without_direct_io()) {
        names("no-o-direct", &["ext4"], WARNING, || doctor_on(&host));
    }
}

#[test]
fn a_disk_that_is_nearly_full() {
    let Some(host) = mounted(Disk::new(64 * MIB)) else {
        return;
    };
    let machine = &host.0;
    names_nothing(|| doctor_on(&host));
    std::fs::create_dir(machine.store()).expect("there is room");
    let large = vec![1; 56 * MIB as usize];
    std::fs::write(machine.store().join("large"), large).expect("there is room");
    names(
        "disk-nearly-full",
        &["87 % used", "diskMaxUsedSpaceRatio is 75"],
        WARNING,
        || doctor_on(&host),
    );
}

#[test]
fn a_device_that_is_slow() {
    let Some(host) = mounted(Disk::new(64 * MIB)) else {
        return;
    };
    let machine = &host.0;
    machine.disk.inject(Some(Fault {
        on: "",
        kind: Kind::Stall(Duration::from_millis(60)),
    }));
    let diagnosis = names_nothing(|| doctor_on(&host));
    assert!(
        diagnosis.has("device-slow", &["the device is slow", "median"]),
        "{:#}",
        diagnosis.json
    );
    assert_ne!(diagnosis.ended.status.code(), Some(0));
}

#[test]
fn a_device_whose_flush_fails() {
    let Some(host) = mounted(Disk::new(64 * MIB)) else {
        return;
    };
    let machine = &host.0;
    machine.disk.inject(Some(Fault {
        on: "",
        kind: Kind::Flush,
    }));
    names("device-error", &["flush"], ERROR, || doctor_on(&host));
}

/// The disk goes on only after doctor has ended.
#[test]
fn a_device_that_hangs_does_not_hold_doctor_up() {
    let Some(host) = mounted(Disk::new(64 * MIB)) else {
        return;
    };
    let machine = &host.0;
    machine.disk.hold_names(true);
    let release = Release(&machine.disk);
    names(
        "device-stalled",
        &["completes no write", "making a file"],
        ERROR,
        || doctor_on(&host),
    );
    assert!(machine.disk.held() > 0, "it hangs still");
    drop(release);
    wait_until("what hung is done", || machine.disk.held() == 0);
}

/// Also when a test fails: a process that waits for the disk cannot be killed.
struct Release<'a>(&'a Disk);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.hold_names(false);
    }
}

#[test]
fn a_disk_that_fills_up() {
    let Some(machine) = Machine::with(Disk::new(1 << 30), Options::small()) else {
        return;
    };
    let broker = machine.start();
    let mut ledger = Ledger::default();
    let load = ledger.start_load(broker.addr());
    load.until_acknowledged(300);
    let words = ["are stored", "75 % in", "fileReservedTime"];
    names("disk-fills-up", &words, WARNING, || {
        doctor_of(&machine.store())
    });
    load.stop();
    ledger.close(load);
    ledger.check(broker.addr());
}

#[test]
fn a_broker_that_is_fenced() {
    let Some(machine) = Machine::with(Disk::new(1 << 30), Options::small()) else {
        return;
    };
    let broker = machine.start();
    Client::connect(broker.addr())
        .send(&send_to("T", 0), b"x")
        .ok();
    names_nothing(|| doctor_of(&machine.store()));
    machine.disk.inject(Some(Fault {
        on: "00000000000",
        kind: Kind::Write,
    }));
    Client::connect(broker.addr()).send(&send_to("T", 0), b"x");
    wait_until("the fence", || broker.log().contains("the store is fenced"));
    machine.disk.inject(None);
    names(
        "fenced",
        &["Input/output error", "commitlog"],
        ERROR,
        || doctor_of(&machine.store()),
    );
}
