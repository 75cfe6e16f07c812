//! Protects what is built in from elsewhere: every crate comes from crates.io, and is under a licence that asks for no more than its text.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// What the crates are under. A new one is looked at before it is added here.
const LICENCES: [&str; 8] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn is_free(licence: &str) -> bool {
    let lax = ParseMode {
        allow_slash_as_or_operator: true,
        ..ParseMode::LAX
    };
    Expression::parse_mode(licence, lax).is_ok_and(|expression| {
        expression.evaluate(|asked| {
            let id = asked.license.id();
            id.is_some_and(|id| LICENCES.contains(&id.name))
        })
    })
}

#[test]
fn every_crate_is_of_the_registry_and_under_a_free_licence() {
    // Those of other systems are not there where only this one was built for.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--offline", "--locked", "--format-version", "1"]);
    command.args(["--filter-platform", &target]);
    let output = command.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let crates = found["packages"].as_array().expect("a list");
    let foreign = crates.iter().filter(|found| found["name"] != "ringmq");
    let mut wrong = Vec::new();
    for found in foreign {
        let licence = found["license"].as_str().unwrap_or_default();
        if found["source"] != REGISTRY || !is_free(licence) {
            wrong.push(format!(
                "{} {}: {licence}, {}",
                found["name"], found["version"], found["source"]
            ));
        }
    }
    assert!(crates.len() > 100, "all of them are looked at");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_licence_of_several_is_enough_and_each_of_all_counts() {
    assert!(is_free("MIT/Apache-2.0") && is_free("GPL-3.0 OR MIT"));
    assert!(!is_free("GPL-3.0") && !is_free("MIT AND GPL-3.0") && !is_free(""));
}
