//! Protects the shape of the house: which room may use which, and where `unsafe` may stand; and that the page about
//! compatibility speaks of every request and every mqadmin subcommand, and that about durability of tests that there are.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room (a folder or file of `src/`) with the rooms it may name as `crate::room`.
const ALLOWED_USES: &[(&str, &[&str])] = &[
    ("message", &[]),
    ("mutants", &[]),
    ("mem", &[]),
    ("io", &["mem"]),
    ("wire", &["message"]),
    ("store", &["message", "io", "mem"]),
    ("broker", &["store", "wire", "message"]),
    ("namesrv", &["wire"]),
    ("ring", &["io", "mem"]),
    ("sim", &["io", "mem"]),
    (
        "reactor",
        &["broker", "namesrv", "store", "wire", "message", "io", "mem"],
    ),
    ("client", &["wire", "message"]),
    ("bench", &["client", "wire", "message", "mem"]),
    ("config", &[]),
    (
        "cli",
        &[
            "bench", "broker", "client", "config", "io", "mem", "message", "namesrv", "reactor",
            "ring", "store", "wire",
        ],
    ),
];

/// Rooms in which `unsafe` may stand, each time under its SAFETY reason (which clippy demands).
const UNSAFE_ROOMS: &[&str] = &["ring", "mem"];

#[test]
fn rooms_use_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        let Some((_, allowed)) = ALLOWED_USES.iter().find(|(name, _)| *name == room) else {
            assert!(
                ["lib", "main"].contains(&room.as_str()),
                "{}: the room {room} is not in the table",
                path.display()
            );
            continue;
        };
        for (number, line) in production_lines(&text) {
            for used in line.split("crate::").skip(1).map(leading_name) {
                if used != room && !allowed.contains(&used) {
                    wrong.push(format!("{}:{number} uses {used}", path.display()));
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
    for (path, text) in sources() {
        if UNSAFE_ROOMS.contains(&room_of(&path).as_str()) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl")
            {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "unsafe outside ring/ and mem/:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_request_code_stands_on_the_page_about_compatibility() {
    let page = read("src/compatibility.md");
    let codes = read("src/wire/codes/request.rs");
    let codes = codes.lines().filter_map(|line| {
        let (name, value) = line.trim().trim_end_matches(',').split_once(" = ")?;
        Some(format!("| {} | {name} |", value.parse::<i32>().ok()?))
    });
    let missing: Vec<_> = codes.filter(|row| !page.contains(row)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:#?}");
}

#[test]
fn every_subcommand_of_the_matrix_stands_on_the_page_about_compatibility() {
    let page = read("src/compatibility.md");
    let commands = read("tests/clients/mqadmin/commands.txt");
    let commands = commands.lines().filter(|line| !line.starts_with('#'));
    let commands = commands.filter_map(|line| {
        let name = line.split_once('|')?.1.split_whitespace().next()?;
        Some(format!("| {name} |"))
    });
    let missing: Vec<_> = commands.filter(|row| !page.contains(row)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:#?}");
}

#[test]
fn every_test_on_the_page_about_durability_is_there() {
    let texts: String = ["src", "tests"]
        .into_iter()
        .flat_map(|folder| files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)))
        .map(|path| fs::read_to_string(path).expect("it can be read"))
        .collect();
    let page = read("src/durability.md");
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let names: Vec<_> = names
        .filter(|name| name.contains('_') && !name.contains(' '))
        .collect();
    assert!(names.len() > 50);
    let missing: Vec<_> = names
        .into_iter()
        .filter(|name| !texts.contains(&format!("fn {name}()")))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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

fn room_of(path: &Path) -> String {
    let inside = path.strip_prefix(source_root()).expect("a path below src");
    let first = inside.components().next().expect("a file has a name");
    Path::new(first.as_os_str())
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Without those of tests, which may use what they like.
fn sources() -> Vec<(PathBuf, String)> {
    let is_test = |path: &Path| {
        path.iter().any(|part| part == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs")
    };
    let root = source_root();
    let paths = files_below(&root).into_iter();
    let paths = paths.filter(|path| !is_test(path.strip_prefix(&root).expect("below it")));
    paths
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source is text");
            (path, text)
        })
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
