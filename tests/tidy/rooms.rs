//! Which room may use which, and where `unsafe` may stand.

use crate::sources::{Source, sources};

/// Each room (a folder or file of `src/`) with the rooms it may name as `crate::room`.
const ALLOWED_USES: &[(&str, &[&str])] = &[
    ("message", &[]),
    ("metrics", &[]),
    ("manual", &[]),
    ("mutants", &[]),
    ("mem", &[]),
    ("parted", &[]),
    ("io", &["mem"]),
    ("wire", &["message"]),
    ("auth", &["message", "wire"]),
    ("store", &["message", "metrics", "io", "mem", "parted"]),
    (
        "broker",
        &["config", "metrics", "parted", "store", "wire", "message"],
    ),
    ("namesrv", &["config", "wire"]),
    ("replication", &[]),
    ("tls", &["auth", "io", "mem"]),
    ("controller", &["config", "wire"]),
    ("quorum", &["auth", "controller", "tls", "wire", "metrics"]),
    ("ring", &["io", "mem"]),
    ("portable", &["io", "mem", "ring"]),
    ("sim", &["io", "mem"]),
    (
        "reactor",
        &[
            "auth",
            "broker",
            "namesrv",
            "replication",
            "store",
            "wire",
            "message",
            "metrics",
            "io",
            "mem",
        ],
    ),
    ("client", &["auth", "tls", "wire", "message"]),
    ("bench", &["auth", "client", "wire", "message", "mem"]),
    ("config", &["auth", "metrics"]),
    (
        "cli",
        &[
            "auth",
            "bench",
            "broker",
            "client",
            "config",
            "controller",
            "io",
            "mem",
            "message",
            "metrics",
            "namesrv",
            "portable",
            "quorum",
            "reactor",
            "replication",
            "ring",
            "store",
            "tls",
            "wire",
        ],
    ),
];

/// Rooms in which `unsafe` may stand, each time under its SAFETY reason (which clippy demands).
const UNSAFE_ROOMS: &[&str] = &["ring", "mem"];

#[test]
fn rooms_use_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Source { path, text, .. } = &source;
        let room = source.room();
        let Some((_, allowed)) = ALLOWED_USES.iter().find(|(name, _)| *name == room) else {
            assert!(
                ["lib", "main"].contains(&room),
                "{path}: the room {room} is not in the table"
            );
            continue;
        };
        for (number, line) in production_lines(text) {
            for used in line.split("crate::").skip(1).map(leading_name) {
                if used != room && !allowed.contains(&used) {
                    wrong.push(format!("{path}:{number} uses {used}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not allowed by the table:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_stands_only_in_ring_and_mem() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Source { path, text, .. } = &source;
        if UNSAFE_ROOMS.contains(&source.room()) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl")
            {
                wrong.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "unsafe outside ring/ and mem/:\n{}",
        wrong.join("\n")
    );
}

/// The lines before a file's test module: tests may use what they like.
fn production_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn leading_name(rest: &str) -> &str {
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    &rest[..end]
}
