//! A strict reader of Prometheus' text format (version 0.0.4): what it takes, Prometheus takes.

use std::collections::{BTreeMap, BTreeSet};

/// What one scrape says.
#[derive(Debug, Default)]
pub struct Exposition {
    /// Type by name.
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// As in `types`: without what a histogram adds.
    pub family: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Exposition {
    /// Panics at what Prometheus would refuse, or `promtool check metrics` would complain about.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line is not ended");
        let mut read = Self::default();
        let (mut current, mut helped) = (String::new(), BTreeSet::new());
        let mut series = BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("a help text");
                assert!(!text.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "{name} has no help text");
                let before = read.types.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{name} comes twice");
                current = name.to_owned();
            } else {
                let sample = sample(line, &current, &read.types[&current]);
                let key = (sample.name.clone(), sample.labels.clone());
                assert!(series.insert(key), "twice: {line}");
                read.samples.push(sample);
            }
        }
        read.check_histograms();
        read
    }

    /// The samples with this name and these labels among theirs.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &&Sample| {
            let mut labels = labels.iter();
            sample.name == name
                && labels.all(|(label, value)| {
                    sample.labels.get(*label).map(String::as_str) == Some(*value)
                })
        };
        self.samples.iter().filter(has).collect()
    }

    /// The sum of their values.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.find(name, labels);
        found.iter().map(|sample| sample.value).sum()
    }

    /// Ranges add up, and the last one is the number of values.
    fn check_histograms(&self) {
        let mut last: BTreeMap<(String, BTreeMap<String, String>), (f64, f64)> = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le");
            let key = (sample.family.clone(), labels);
            if let Some(bound) = bound {
                let bound = match &*bound {
                    "+Inf" => f64::INFINITY,
                    bound => bound.parse().expect("a bound"),
                };
                let before = last.insert(key, (bound, sample.value));
                let (lower, count) = before.unwrap_or((f64::NEG_INFINITY, 0.0));
                assert!(lower < bound && count <= sample.value, "{sample:?}");
            } else if sample.name.ends_with("_count") && self.types[&sample.family] == "histogram" {
                assert_eq!(
                    last.get(&key),
                    Some(&(f64::INFINITY, sample.value)),
                    "{sample:?}"
                );
            }
        }
    }
}

fn sample(line: &str, family: &str, kind: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, rest) = line.split_at(end);
    let suffix = name.strip_prefix(family);
    let suffix = suffix.unwrap_or_else(|| panic!("not of {family}: {line}"));
    match kind {
        "histogram" => assert!(["_bucket", "_count", "_sum"].contains(&suffix), "{line}"),
        _ => assert_eq!(suffix, "", "{line}"),
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest),
        None => (BTreeMap::new(), rest),
    };
    let value = value.strip_prefix(' ').expect("a blank");
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
    if kind != "gauge" {
        assert!(value >= 0.0, "{line}");
    }
    assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{line}");
    Sample {
        family: family.to_owned(),
        name: name.to_owned(),
        labels,
        value,
    }
}

/// The labels, and what is behind the brace.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(!name.is_empty() && name.bytes().all(is_legal), "{name}");
        let (value, behind) = quoted(behind);
        let before = labels.insert(name.to_owned(), value);
        assert!(before.is_none(), "two labels {name}");
        match behind.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => return (labels, behind.strip_prefix('}').expect("a brace")),
        }
    }
}

/// Up to the quotation mark, and what is behind it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next().expect("a quotation mark").1 {
            '"' => return (value, characters.as_str()),
            '\\' => match characters.next().expect("an escaped one").1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                other => panic!("\\{other}"),
            },
            other => value.push(other),
        }
    }
}
