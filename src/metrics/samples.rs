//! Reads what [`text`](super::text) has written: a shard writes each sample in one form, for the HTTP endpoint, the collector and the log.

use std::borrow::Cow;

use super::families::{Family, Kind};
use super::text::Number;

/// One sample of a counter or a gauge, or all of one histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    pub labels: Labels<'a>,
    pub reading: Reading,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    Number(Number),
    Histogram {
        /// By range; the last one is of what is above all bounds.
        counts: Vec<u64>,
        sum: Number,
    },
}

/// As they are written, which names a series among those of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labels<'a>(pub &'a str);

/// The samples of a family, in the order of its text.
pub fn samples<'a>(family: &Family, text: &'a str) -> impl Iterator<Item = Sample<'a>> {
    let mut reader = Reader {
        name: family.name,
        lines: text.lines(),
    };
    let ranges = family.bounds.len() + 1;
    let is_histogram = family.kind == Kind::Histogram;
    std::iter::from_fn(move || match is_histogram {
        true => reader.histogram(ranges),
        false => reader.number(),
    })
}

struct Reader<'a> {
    name: &'static str,
    lines: std::str::Lines<'a>,
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<Sample<'a>> {
        let (labels, value) = self.line("")?;
        Some(Sample {
            labels: Labels(labels),
            reading: Reading::Number(number(value)),
        })
    }

    fn histogram(&mut self, ranges: usize) -> Option<Sample<'a>> {
        let (mut counts, mut below) = (Vec::with_capacity(ranges), 0_u64);
        for _ in 0..ranges {
            let (_, value) = self.line("_bucket")?;
            let cumulative: u64 = value.parse().expect("a count");
            counts.push(cumulative - below);
            below = cumulative;
        }
        let (labels, count) = self.line("_count").expect("a histogram has its count");
        assert_eq!(count.parse(), Ok(below), "{}", self.name);
        let (_, sum) = self.line("_sum").expect("a histogram has its sum");
        Some(Sample {
            labels: Labels(labels),
            reading: Reading::Histogram {
                counts,
                sum: number(sum),
            },
        })
    }

    /// Labels and value of the next line, whose name has this suffix.
    fn line(&mut self, suffix: &str) -> Option<(&'a str, &'a str)> {
        let line = self.lines.next()?;
        let rest = line.strip_prefix(self.name);
        let rest = rest.and_then(|rest| rest.strip_prefix(suffix)?.strip_prefix('{'));
        // No value of a sample has a brace, and those of labels have no line's end.
        let parts = rest.and_then(|rest| rest.rsplit_once("} "));
        Some(parts.unwrap_or_else(|| panic!("{}{suffix} and not {line}", self.name)))
    }
}

fn number(text: &str) -> Number {
    let whole = text.parse().map(Number::Whole);
    whole.unwrap_or_else(|_| Number::Real(text.parse().expect("a number")))
}

impl<'a> Labels<'a> {
    /// Names and values.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, behind) = rest.split_once("=\"")?;
            let end = end_of_value(behind);
            let value = unescaped(&behind[..end]);
            rest = &behind[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
            Some((name, value))
        })
    }
}

/// The place of the quotation mark that ends it.
fn end_of_value(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| match byte {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        b'\\' => {
            is_escaped = true;
            false
        }
        byte => byte == b'"',
    });
    end.expect("a value ends")
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let (mut value, mut characters) = (String::with_capacity(text.len()), text.chars());
    while let Some(character) = characters.next() {
        value.push(match character {
            '\\' => match characters.next().expect("an escaped character") {
                'n' => '\n',
                escaped => escaped,
            },
            other => other,
        });
    }
    Cow::Owned(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Histogram;
    use crate::metrics::families::{COMMIT_SECONDS, LAG_MESSAGES, TASK_SECONDS};
    use crate::metrics::text::{NodeLabels, histogram, sample};

    fn node() -> NodeLabels {
        NodeLabels::new("c", "b", "broker", &[])
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            values in prop::collection::vec((any::<String>(), any::<String>(), any::<u64>()), 0..5)
        ) {
            let mut text = String::new();
            for (topic, group, value) in &values {
                let labels = [("topic", &**topic), ("consumer_group", &**group)];
                sample(&LAG_MESSAGES, &node(), &labels, *value, &mut text);
            }
            let read: Vec<_> = samples(&LAG_MESSAGES, &text).collect();
            prop_assert_eq!(read.len(), values.len());
            for (sample, (topic, group, value)) in read.iter().zip(&values) {
                prop_assert_eq!(&sample.reading, &Reading::Number(Number::Whole(*value)));
                let labels: Vec<_> = sample.labels.pairs().collect();
                let (names, read): (Vec<_>, Vec<_>) = labels.into_iter().unzip();
                prop_assert_eq!(names, ["cluster", "node_id", "node_type", "otel_scope_name", "topic", "consumer_group"]);
                prop_assert_eq!(read, ["c", "b", "broker", "broker-meter", topic, group]);
            }
        }
    }

    #[test]
    fn a_histogram_is_one_sample() {
        let mut waits = Histogram::of(&COMMIT_SECONDS);
        for value in [10, 60, 60, 1 << 40] {
            waits.record(value);
        }
        let mut text = String::new();
        for _ in 0..2 {
            histogram(&COMMIT_SECONDS, &node(), &[], &waits, &mut text);
        }
        let read: Vec<_> = samples(&COMMIT_SECONDS, &text).collect();
        assert_eq!(read.len(), 2);
        let Reading::Histogram { counts, sum } = &read[1].reading else {
            panic!("{:?}", read[1]);
        };
        assert_eq!(counts.len(), COMMIT_SECONDS.bounds.len() + 1);
        assert_eq!(
            (counts[..3].to_vec(), counts.last()),
            (vec![1, 2, 0], Some(&1))
        );
        assert_eq!(*sum, Number::Real((130 + (1_u64 << 40)) as f64 / 1e6));
        assert_eq!(read[0].labels, read[1].labels);
    }

    #[test]
    fn whole_numbers_and_others_stay_what_they_are() {
        let mut text = String::new();
        for value in [
            Number::Real(1.0),
            Number::Real(2.5e-7),
            Number::Whole(u64::MAX),
        ] {
            sample(&TASK_SECONDS, &node(), &[("task", "t")], value, &mut text);
        }
        let read = samples(&TASK_SECONDS, &text).map(|sample| sample.reading);
        let expected = [
            Number::Real(1.0),
            Number::Real(2.5e-7),
            Number::Whole(u64::MAX),
        ];
        assert_eq!(read.collect::<Vec<_>>(), expected.map(Reading::Number));
    }
}
