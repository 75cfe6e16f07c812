//! Protects the promise of an acknowledgement: what the broker has said to have stored is there after a kill -9 in the
//! middle of everything and after a clean stop, where it said, whole, and once. `KILL_ROUNDS=n` kills n times in each mode instead
//! of a few.

use std::time::Duration;

use crate::common::ledger::Ledger;
use crate::common::random::Random;
use crate::common::{Broker, Options, free_ports};

/// Acknowledgements to wait for before the end of each round.
const ROUND: usize = 1500;

#[test]
fn a_kill_takes_nothing_acknowledged_in_sync_mode() {
    kill_again_and_again("sync", None, rounds());
}

#[test]
fn a_kill_takes_nothing_acknowledged_in_async_mode() {
    kill_again_and_again("async", None, rounds());
}

fn rounds() -> usize {
    let given = std::env::var("KILL_ROUNDS").ok();
    given.and_then(|given| given.parse().ok()).unwrap_or(4)
}

/// With `--io` if it is given.
pub fn kill_again_and_again(flush: &str, io: Option<&str>, rounds: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let options = Options {
        flush,
        io,
        ports: Some(free_ports()),
        ..Options::small()
    };
    let mut random = Random::new(rounds as u64);
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        if round % 3 == 2 {
            // In the middle of its recovery.
            let soon = Duration::from_millis(random.below(150) as u64);
            Broker::kill_while_it_starts(&store, &options, soon);
        }
        let broker = Broker::start(&store, &options);
        // To read everything each time would take longer each time.
        if round < 10 || round % 10 == 0 {
            ledger.check(broker.addr());
        }
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(1 + random.below(ROUND));
        broker.kill();
        ledger.close(load);
        assert!(
            store.join("abort").exists(),
            "a killed broker leaves its mark"
        );
    }
    let broker = Broker::start(&store, &options);
    ledger.check(broker.addr());
    assert!(broker.terminate().success());
}

#[test]
fn a_stop_under_load_is_clean() {
    for flush in ["sync", "async"] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let options = Options {
            flush,
            ports: Some(free_ports()),
            ..Options::small()
        };
        let mut ledger = Ledger::default();
        for signal in ["TERM", "INT"] {
            let broker = Broker::start(&store, &options);
            ledger.check(broker.addr());
            assert!(
                store.join("abort").exists(),
                "a running broker has its mark"
            );
            let load = ledger.start_load(broker.addr());
            load.until_acknowledged(ROUND);
            let ended = broker.stop(signal);
            ledger.close(load);
            assert!(ended.status.success(), "{ended:#?}");
            assert!(
                !store.join("abort").exists(),
                "a clean stop takes the mark away"
            );
        }
        // What the load made on a kill is read from a plain start, too.
        let broker = Broker::start(&store, &options);
        ledger.check(broker.addr());
    }
}

/// The ConsumeQueues are made from the log, so they may be lost, and what the checkpoint says of them, too.
#[test]
fn queues_are_made_again_from_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let mut ledger = Ledger::default();
    for (is_killed, lost) in [
        (false, "consumequeue"),
        (false, "checkpoint"),
        (true, "consumequeue"),
        (true, "checkpoint"),
    ] {
        let broker = Broker::start(&store, &Options::small());
        ledger.check(broker.addr());
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(ROUND / 2);
        if is_killed {
            broker.kill();
        } else {
            assert!(broker.terminate().success());
        }
        ledger.close(load);
        // A killed broker need not have saved any.
        let _ = std::fs::remove_dir_all(store.join(lost));
        let _ = std::fs::remove_file(store.join(lost));
    }
    let broker = Broker::start(&store, &Options::small());
    ledger.check(broker.addr());
}
