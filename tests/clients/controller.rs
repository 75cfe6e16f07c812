//! Brokers, RocketMQ's own and ringmq's, and mqadmin under ringmq's controllers and RocketMQ's.

use crate::common::scripts::{Script, missing};
use crate::suites::one_at_a_time;

const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");

fn run(program: &str, words: &[&str]) {
    run_with(&["java", "mvn", "python3"], program, words);
}

fn run_with(tools: &[&str], program: &str, words: &[&str]) {
    if missing(tools) {
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

/// Three controllers and three brokers: whatever dies, an acknowledged message is where it was acknowledged. The controllers ask for credentials,
/// which RocketMQ's brokers have and a stranger has not.
#[test]
fn brokers_of_rocketmq_lose_nothing_under_our_controllers() {
    run("failover", &["--rounds", "kill,both", "--users"]);
}

/// Each of our brokers and controllers on a host of its own, a stock client that sends and consumes: nothing that was acknowledged or delivered is
/// lost when the master dies, hangs, is cut off together with a slave, or hears nothing of the others any more.
#[test]
fn stock_clients_lose_nothing_when_a_master_dies_hangs_or_is_cut_off() {
    if missing(&["ip"]) || !is_root() {
        eprintln!("skipped: hosts as network namespaces need root and ip(8)");
        return;
    }
    let rounds = ["--kinds", "ringmq", "--rounds", "kill,hang,pair,deaf"];
    run(
        "rounds",
        &[&rounds[..], &["--poll", "1000", "--seconds", "8"]].concat(),
    );
}

/// RocketMQ's master and slave, then ours as slave and master, and back: no message is lost, consumers keep their offsets, what was delayed comes once.
#[test]
fn a_cluster_moves_from_rocketmq_to_ringmq_and_back_under_load() {
    run("moving", &[]);
}

/// The same with messages that have a time of their own.
#[test]
#[ignore = "takes four minutes, in which brokers and clients need the cores: cargo test --test clients timed_messages -- --ignored"]
fn timed_messages_survive_a_move_from_rocketmq_to_ringmq_and_back() {
    run("moving", &["--timed"]);
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The same with brokers of ringmq, without a JVM.
#[test]
fn our_brokers_lose_nothing_under_our_controllers() {
    let words = [
        "--rounds",
        "kill,hang,both",
        "--kinds",
        "ringmq,ringmq,ringmq",
    ];
    run_with(&["python3"], "failover", &words);
}

#[test]
fn mqadmin_prints_what_it_prints_under_rocketmqs_controller() {
    run("mqadmin", &[]);
}
