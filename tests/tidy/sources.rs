//! The sources of the crate, parsed.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src/` that is not a file of tests.
pub struct Source {
    /// Relative to `src/`: `store/log/reader.rs`.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
}

impl Source {
    /// The folder or file of `src/` that it belongs to: `store`.
    pub fn room(&self) -> &str {
        let first = self.path.split('/').next().expect("a path has a name");
        first.trim_end_matches(".rs")
    }

    /// `["store", "log", "reader"]`; a `mod.rs` is its folder, `lib.rs` is the root.
    pub fn module(&self) -> Vec<String> {
        let names = self.path.trim_end_matches(".rs").split('/');
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        if ["mod", "lib", "main"].contains(&names.last().expect("a name").as_str()) {
            names.pop();
        }
        names
    }
}

pub fn sources() -> Vec<Source> {
    let root = package().join("src");
    let mut sources = Vec::new();
    for path in all_rust_below(&root) {
        let inside = path.strip_prefix(&root).expect("it is below the root");
        let is_of_tests = inside.iter().any(|part| part == "tests")
            || inside.to_string_lossy().ends_with("tests.rs");
        if is_of_tests {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source is text");
        let syntax =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = inside.to_string_lossy().into_owned();
        sources.push(Source { path, text, syntax });
    }
    sources
}

/// Whether an item is compiled for tests only.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = attribute.path().is_ident("test");
        let cfg = attribute.path().is_ident("cfg").then_some(&attribute.meta);
        let Some(syn::Meta::List(list)) = cfg else {
            return is_test;
        };
        list.tokens.to_string() == "test"
    })
}

pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the package.
pub fn read(path: &str) -> String {
    let path = package().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn all_rust_below(folder: &Path) -> Vec<PathBuf> {
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
    found.sort();
    found
}
