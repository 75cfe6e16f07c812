//! The figures of all rounds, and how the sides compare.

use std::fmt::Write;

use ringmq::bench::{RunResult, Shape};

use crate::sides::Side;

#[derive(Default)]
pub struct Figures {
    runs: Vec<RunResult>,
}

type Figure = (&'static str, fn(&RunResult) -> Option<f64>);

const FIGURES: [Figure; 5] = [
    ("msg/s", |run| Some(run.messages_per_second())),
    ("p50 us", |run| Some(run.percentiles().p50_us)),
    ("p99 us", |run| Some(run.percentiles().p99_us)),
    ("p99.9 us", |run| Some(run.percentiles().p99_9_us)),
    ("cpu us/msg", RunResult::broker_cpu_us_per_message),
];

impl Figures {
    pub fn add(&mut self, run: RunResult) {
        self.runs.push(run);
    }

    /// One run for each side and load, with the messages of all rounds.
    pub fn merged(&self) -> Vec<RunResult> {
        let mut merged = Vec::new();
        for shape in self.shapes() {
            let runs = self.runs.iter().filter(|run| run.shape == shape);
            runs.for_each(|run| run.clone().add_to(&mut merged));
        }
        merged
    }

    /// For each load and figure the medians with their ranges, and the ratio of ringmq to the others.
    pub fn table(&self, sides: &[Side]) -> String {
        let mut text = format!("{:<18}{:<12}", "load", "median");
        for side in sides {
            let _ = write!(text, "{:>34}", side.name());
        }
        for side in &sides[1..] {
            let _ = write!(text, "{:>16}", format!("to {}", side.name()));
        }
        text.push('\n');
        for shape in self.shapes() {
            for (name, figure) in FIGURES {
                let of = |side: &Side| self.values(*side, shape, figure);
                let all: Vec<Vec<f64>> = sides.iter().map(of).collect();
                let _ = write!(text, "{:<18}{name:<12}", shape.label());
                for values in &all {
                    let _ = write!(text, "{:>34}", shown(values));
                }
                for values in &all[1..] {
                    let ratio = median(&all[0]).zip(median(values)).map(|(a, b)| a / b);
                    let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2} x"));
                    let _ = write!(text, "{ratio:>16}");
                }
                text.push('\n');
            }
        }
        text
    }

    fn shapes(&self) -> Vec<Shape> {
        let mut shapes = Vec::new();
        for run in &self.runs {
            if !shapes.contains(&run.shape) {
                shapes.push(run.shape);
            }
        }
        shapes
    }

    /// In order. A run with errors counts for nothing.
    fn values(&self, side: Side, shape: Shape, figure: fn(&RunResult) -> Option<f64>) -> Vec<f64> {
        let runs = self.runs.iter();
        let runs = runs.filter(|run| run.name == side.name() && run.shape == shape);
        let runs = runs.filter(|run| run.error_count() + run.unanswered == 0);
        let mut values: Vec<f64> = runs.filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => None,
        1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn shown(sorted: &[f64]) -> String {
    let Some((lowest, highest)) = sorted.first().zip(sorted.last()) else {
        return "errors".to_owned();
    };
    let median = median(sorted).unwrap_or_default();
    let digits = if *highest < 100.0 { 2 } else { 0 };
    format!("{median:.digits$} ({lowest:.digits$} to {highest:.digits$})")
}
