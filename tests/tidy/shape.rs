//! The shape of the tree: no import circle, no long function, no long file.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::imports::{arrows, circles};
use crate::sources::{all_rust_below, is_for_tests, package, sources};

const MAX_FUNCTION_LINES: usize = 60;
const MAX_FILE_LINES: usize = 500;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let mut arrows = arrows(&sources);
    // A module's file represents its folder. What the files of the folder import from it is not counted.
    for (from, to) in arrows.iter_mut().enumerate() {
        let module = sources[from].module();
        to.retain(|to| !module.starts_with(&sources[*to].module()));
    }
    let circles = circles(&arrows);
    let shown = circles.iter().map(|circle| {
        let files = circle.iter().map(|file| {
            let inside: BTreeSet<_> = arrows[*file]
                .iter()
                .filter(|to| circle.contains(to))
                .collect();
            let inside: Vec<_> = inside
                .iter()
                .map(|to| sources[**to].path.as_str())
                .collect();
            format!("  {} -> {}", sources[*file].path, inside.join(", "))
        });
        files.collect::<Vec<_>>().join("\n")
    });
    let shown: Vec<_> = shown.collect();
    assert!(
        shown.is_empty(),
        "{} circles:\n{}",
        shown.len(),
        shown.join("\n\n")
    );
}

#[test]
fn no_function_is_long() {
    let mut long = Vec::new();
    for source in sources() {
        let mut reading = Functions::default();
        reading.visit_file(&source.syntax);
        for (name, line, lines) in reading.long {
            long.push(format!("{}:{line} {name}: {lines} lines", source.path));
        }
    }
    assert!(
        long.is_empty(),
        "above {MAX_FUNCTION_LINES} lines:\n{}",
        long.join("\n")
    );
}

#[derive(Default)]
struct Functions {
    /// Name, first line, lines.
    long: Vec<(String, usize, usize)>,
}

impl Functions {
    fn measure(&mut self, name: &syn::Ident, from: Span, to: Span) {
        let lines = to.end().line - from.start().line + 1;
        if lines > MAX_FUNCTION_LINES {
            self.long.push((name.to_string(), from.start().line, lines));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Longer files, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn no_file_is_long_without_a_reason() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "benches", "perf"] {
        for path in all_rust_below(&package().join(folder)) {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let path = path
                .strip_prefix(package())
                .expect("it is below")
                .to_string_lossy();
            let has_reason = LONG_FILES.iter().any(|(name, _)| *name == path);
            let lines = text.lines().count();
            if lines > MAX_FILE_LINES && !has_reason {
                long.push(format!("{path}: {lines} lines"));
            }
        }
    }
    assert!(
        long.is_empty(),
        "above {MAX_FILE_LINES} lines:\n{}",
        long.join("\n")
    );
}
