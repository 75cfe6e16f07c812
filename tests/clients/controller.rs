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

#[test]
fn mqadmin_prints_what_it_prints_under_rocketmqs_controller() {
    run("mqadmin", &[]);
}
