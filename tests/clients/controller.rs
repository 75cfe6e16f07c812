//! RocketMQ's own brokers and mqadmin under ringmq's controller.

use crate::common::scripts::{Script, missing};
use crate::suites::one_at_a_time;

const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");

fn run(program: &str, words: &[&str]) {
    if missing(&["java", "mvn", "python3"]) {
        return;
    }
    let _turn = one_at_a_time();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("in UTF-8");
    Script::new(
        "controller/run.sh",
        &[&[program, folder, RINGMQ], words].concat(),
    )
    .run();
}

/// Three controllers and three brokers: whatever dies, an acknowledged message is where it was acknowledged.
#[test]
fn brokers_of_rocketmq_lose_nothing_under_our_controllers() {
    run("failover", &["--rounds", "kill,both"]);
}

/// Each broker and controller on a host of its own, a stock client that sends and consumes: nothing that was acknowledged or delivered is lost when the
/// master dies, and when it is cut off from all others but not from its clients.
#[test]
fn stock_clients_lose_nothing_when_a_master_dies_or_is_cut_off() {
    if missing(&["ip"]) || !is_root() {
        eprintln!("skipped: hosts as network namespaces need root and ip(8)");
        return;
    }
    let words = ["--rounds", "kill,alone", "--poll", "1000", "--seconds", "8"];
    run("rounds", &words);
}

/// RocketMQ's master and slave, then ours as slave and master, and back: no message is lost, consumers keep their offsets, what was delayed comes once.
#[test]
fn a_cluster_moves_from_rocketmq_to_ringmq_and_back_under_load() {
    run("moving", &[]);
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn mqadmin_prints_what_it_prints_under_rocketmqs_controller() {
    run("mqadmin", &[]);
}
