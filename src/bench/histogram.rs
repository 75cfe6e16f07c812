//! Latencies: recorded in nanoseconds, three significant digits, shown in microseconds.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

const HIGHEST_NS: u64 = 600_000_000_000;
const NS_PER_US: f64 = 1e3;

/// The quantiles that every table shows, in its order.
pub const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("constant bounds are valid")
}

/// What a table, the JSON and the page show of a histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
    pub max_us: f64,
}

impl Percentiles {
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / NS_PER_US;
        Self {
            count: histogram.len(),
            mean_us: histogram.mean() / NS_PER_US,
            min_us: histogram.min() as f64 / NS_PER_US,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: histogram.max() as f64 / NS_PER_US,
        }
    }

    /// In the order of [`QUANTILES`].
    pub fn in_order(&self) -> [f64; 5] {
        [
            self.p50_us,
            self.p90_us,
            self.p99_us,
            self.p99_9_us,
            self.p99_99_us,
        ]
    }
}

/// The percentile distribution in the text form that HdrHistogram's own plotter and viewers read (`.hgrm`), values in
/// microseconds. Source: `HistogramLogProcessor` / `AbstractHistogram.outputPercentileDistribution` of HdrHistogram.
pub fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for step in histogram.iter_quantiles(5) {
        let value_us = step.value_iterated_to() as f64 / NS_PER_US;
        let quantile = step.quantile_iterated_to();
        let count = histogram.count_between(0, step.value_iterated_to());
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            let _ = writeln!(
                text,
                "{value_us:12.3} {quantile:1.12} {count:10} {inverse:14.2}"
            );
        } else {
            let _ = writeln!(text, "{value_us:12.3} {quantile:1.12} {count:10}");
        }
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        histogram.mean() / NS_PER_US,
        histogram.stdev() / NS_PER_US
    );
    let _ = writeln!(
        text,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        histogram.max() as f64 / NS_PER_US,
        histogram.len()
    );
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        2048
    );
    text
}

/// Points (1 / (1 - quantile), microseconds) for a plot whose x axis is logarithmic, up to what the count can say.
pub fn plot_points(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let last = (histogram.len() as f64).clamp(1.0, 1e6);
    let steps_per_decade = 24.0;
    let steps = (last.log10() * steps_per_decade).ceil() as usize;
    (0..=steps)
        .map(|step| {
            let inverse = 10f64.powf(step as f64 / steps_per_decade).min(last);
            let value = histogram.value_at_quantile(1.0 - 1.0 / inverse);
            (inverse, value.max(1) as f64 / NS_PER_US)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution_are_within_the_resolution() {
        let mut histogram = latency_histogram();
        for us in 1..=10_000u64 {
            histogram.record(us * 1000).unwrap();
        }
        let percentiles = Percentiles::of(&histogram);
        for (value, expected) in percentiles
            .in_order()
            .into_iter()
            .zip([5_000.0, 9_000.0, 9_900.0, 9_990.0, 9_999.0])
        {
            assert!(
                (value - expected).abs() / expected < 2e-3,
                "{value} {expected}"
            );
        }
        assert_eq!(percentiles.count, 10_000);
        assert_eq!(
            Percentiles::of(&latency_histogram()),
            Percentiles::default()
        );
    }

    #[test]
    fn hgrm_has_header_rising_rows_and_footer() {
        let mut histogram = latency_histogram();
        for us in [10u64, 20, 30, 1_000] {
            histogram.record(us * 1000).unwrap();
        }
        let text = hgrm(&histogram);
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("       Value     Percentile TotalCount 1/(1-Percentile)")
        );
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|n| n.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1])
        );
        let last = rows.last().unwrap();
        assert_eq!(last[1], 1.0);
        assert_eq!(last[2], 4.0);
        assert!(text.contains("#[Max     =") && text.contains("Total count    =            4]"));
    }

    #[test]
    fn plot_points_rise_on_both_axes() {
        let mut histogram = latency_histogram();
        for us in 1..5_000u64 {
            histogram.record(us * us).unwrap();
        }
        let points = plot_points(&histogram);
        assert!(points.len() > 50);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
    }
}
