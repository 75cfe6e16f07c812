//! Every request code, by a user without rights, beside what RocketMQ 5.5.0 has answered (`tests/golden/auth/walk.jsonl`).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::*;
use crate::auth::needs::is_mapped;
use crate::broker::requests::CODES;
use crate::wire::codes::request;

const RECORDED: &str = include_str!("../../../tests/golden/auth/walk.jsonl");

/// Codes that a user without rights may send: of producers, of what names nothing.
const FREE: &[i32] = &[request::HEART_BEAT];

fn walked(code: i32) -> Option<Reason> {
    let guard = guard(&directory(&[]));
    let fields = [
        ("topic", "t"),
        ("b", "t"),
        ("consumerGroup", "g"),
        ("group", "g"),
        ("groupName", "g"),
        ("destGroup", "g"),
        ("compareGroup", "g"),
    ];
    let visit = &mut Visit::default();
    reason(ask_as(
        &guard,
        visit,
        ("u", "s"),
        BROKER,
        (code, &fields, b"{}"),
    ))
}

#[test]
fn a_user_without_rights_may_nothing() {
    let open: Vec<_> = CODES
        .iter()
        .filter(|code| walked(**code).is_none())
        .collect();
    assert_eq!(open, FREE.iter().collect::<Vec<_>>());
}

#[test]
fn every_code_of_the_broker_has_a_row() {
    let without: Vec<_> = CODES
        .iter()
        .filter(|code| !is_mapped(BROKER, **code))
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

/// What RocketMQ denies is denied here, too; and what it leaves open is in the page about compatibility.
#[test]
fn nothing_is_open_that_rocketmq_denies() {
    let recorded = RECORDED.lines().map(|line| {
        let row: Json = serde_json::from_str(line).unwrap();
        (
            row["code"].as_i64().unwrap() as i32,
            row["answer"]["code"].as_i64(),
        )
    });
    let recorded: BTreeMap<_, _> = recorded.collect();
    assert!(recorded.len() > 140);
    for (code, answered) in &recorded {
        let ours = walked(*code);
        assert!(*answered != Some(16) || ours.is_some(), "{code}");
    }
    let page = include_str!("../../manual/compatibility.md");
    for (code, answered) in recorded {
        let differs = answered != Some(16) && answered != Some(3) && walked(code).is_some();
        if differs && CODES.contains(&code) {
            assert!(page.contains(&format!("| {code} |")), "{code}");
        }
    }
}
