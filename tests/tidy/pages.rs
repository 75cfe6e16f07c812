//! The pages of the documentation name every request and subcommand, and only tests that exist.

use crate::sources::{all_rust_below, package, read};

#[test]
fn every_request_code_stands_on_the_page_about_compatibility() {
    let page = read("src/manual/compatibility.md");
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
    let page = read("src/manual/compatibility.md");
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
        .flat_map(|folder| all_rust_below(&package().join(folder)))
        .map(|path| std::fs::read_to_string(path).expect("it can be read"))
        .collect();
    let page = read("src/manual/durability.md");
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
