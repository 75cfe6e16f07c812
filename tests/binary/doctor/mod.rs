//! Protects `ringmq doctor`: each injected fault is named as the right cause, and no other of them; without a fault none is named; it ends while a
//! disk and a broker hang, and leaves nothing behind.

mod cluster;
mod host;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Ended, Process, ringmq};

/// Faults that the tests inject, by the name that doctor has for each.
const INJECTED: &[&str] = &[
    "clock-step",
    "consumers-behind",
    "denied",
    "descriptors",
    "device-error",
    "device-stalled",
    "disk-fills-up",
    "disk-full",
    "disk-nearly-full",
    "fenced",
    "inconsistent-subscriptions",
    "io-uring-forbidden",
    "io-uring-missing",
    "memlock",
    "missing-at-start",
    "name-server-away",
    "no-consumers",
    "no-master",
    "no-o-direct",
    "port-taken",
    "replicas-away",
    "replicas-behind",
    "route-to-nowhere",
    "skewed-queue",
    "store-unusable",
    "unconsumed-queue",
];

/// A machine that builds and tests at once may not answer a request within a second: then doctor is asked again.
const TRIES: usize = 4;

/// What doctor says.
struct Diagnosis {
    json: Value,
    ended: Ended,
}

impl Diagnosis {
    /// With `--json`, as the command is made by this function.
    fn of(command: impl Fn() -> Command) -> Diagnosis {
        let mut command = command();
        command.arg("--json").env_remove("NAMESRV_ADDR");
        let ended = Process::spawn(&mut command).until_end();
        let json = serde_json::from_str(&ended.out);
        Diagnosis {
            json: json.unwrap_or_else(|error| panic!("{error}: {ended:#?}")),
            ended,
        }
    }

    fn findings(&self) -> &[Value] {
        self.json["findings"].as_array().expect("a list")
    }

    /// The injected ones among its faults.
    fn faults(&self) -> BTreeSet<&str> {
        let names = self.findings().iter().filter_map(|it| it["fault"].as_str());
        names.filter(|name| INJECTED.contains(name)).collect()
    }

    /// A finding with this fault and these words.
    fn has(&self, fault: &str, words: &[&str]) -> bool {
        let of_fault = self.findings().iter().filter(|it| it["fault"] == fault);
        of_fault.into_iter().any(|finding| {
            let text = finding.to_string();
            words.iter().all(|word| text.contains(word))
        })
    }
}

/// Doctor names this fault with these words, and no other injected one. The severity is in the exit code.
fn names(fault: &str, words: &[&str], code: i32, command: impl Fn() -> Command) -> Diagnosis {
    let mut last = None;
    for _ in 0..TRIES {
        let diagnosis = Diagnosis::of(&command);
        if diagnosis.faults() == BTreeSet::from([fault]) && diagnosis.has(fault, words) {
            let worst = diagnosis.ended.status.code();
            assert!(
                worst == Some(code) || worst == Some(1),
                "{:#}",
                diagnosis.json
            );
            return diagnosis;
        }
        last = Some(diagnosis.json);
    }
    panic!("it is {fault} with {words:?}, and doctor says {last:#?}");
}

/// Doctor names none of the injected faults.
fn names_nothing(command: impl Fn() -> Command) -> Diagnosis {
    let mut last = None;
    for _ in 0..TRIES {
        let diagnosis = Diagnosis::of(&command);
        if diagnosis.faults().is_empty() {
            return diagnosis;
        }
        last = Some(diagnosis.json);
    }
    panic!("nothing is wrong, and doctor says {last:#?}");
}

const ERROR: i32 = 1;
const WARNING: i32 = 3;

/// Looks at the broker of this store.
fn doctor_of(store: &Path) -> Command {
    let mut command = ringmq(["doctor", "--store"]);
    command.arg(store);
    command
}

/// Looks at the cluster alone.
fn doctor_at(namesrv: &str) -> Command {
    ringmq(["doctor", "--namesrv", namesrv])
}
