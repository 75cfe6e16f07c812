//! Which file names which other file: the arrows of the architecture, read from `use` declarations and from paths in the code.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::sources::{Source, is_for_tests};

/// From each file to the files that it names, as indices into `sources`. A path through a module's re-export leads to that module's file.
pub fn arrows(sources: &[Source]) -> Vec<BTreeSet<usize>> {
    let files = sources.iter().enumerate();
    let files: BTreeMap<_, _> = files
        .filter(|(_, source)| source.path != "main.rs")
        .map(|(index, source)| (source.module(), index))
        .collect();
    sources
        .iter()
        .enumerate()
        .map(|(index, source)| {
            let mut reading = Reading {
                files: &files,
                module: source.module(),
                named: BTreeSet::new(),
            };
            reading.visit_file(&source.syntax);
            reading.named.remove(&index);
            reading.named
        })
        .collect()
}

struct Reading<'a> {
    files: &'a BTreeMap<Vec<String>, usize>,
    /// The module in which the visitor is, with those written inside the file.
    module: Vec<String>,
    named: BTreeSet<usize>,
}

impl Reading<'_> {
    fn name(&mut self, segments: &[String]) {
        let Some(absolute) = self.absolute(segments) else {
            return;
        };
        // The longest part of the path that is a file of its own; the rest is items in it.
        let lengths = (1..=absolute.len()).rev();
        let found = lengths
            .into_iter()
            .find_map(|length| self.files.get(&absolute[..length]));
        self.named.extend(found);
    }

    fn absolute(&self, segments: &[String]) -> Option<Vec<String>> {
        let mut base = self.module.clone();
        let mut rest = segments;
        match rest.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                base.push(child.to_owned());
                self.files.get(&base)?;
                rest = &rest[1..];
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.name(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.name(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.name(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(before, tree))
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reading<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        let segments: Vec<_> = segments.collect();
        if segments.len() > 1 {
            self.name(&segments);
        }
        visit::visit_path(self, path);
    }

    // `pub(in path)` and `pub(super)` name no item.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// Sets of files that reach each other, each sorted.
pub fn circles(arrows: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let reach: Vec<_> = (0..arrows.len())
        .map(|from| reachable(arrows, from))
        .collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for file in 0..arrows.len() {
        if seen.contains(&file) || !reach[file].contains(&file) {
            continue;
        }
        let circle = reach[file].iter().copied();
        let circle: Vec<_> = circle
            .filter(|other| reach[*other].contains(&file))
            .collect();
        seen.extend(circle.iter().copied());
        found.push(circle);
    }
    found
}

fn reachable(arrows: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut to_follow = vec![from];
    while let Some(file) = to_follow.pop() {
        for next in &arrows[file] {
            if reached.insert(*next) {
                to_follow.push(*next);
            }
        }
    }
    reached
}
