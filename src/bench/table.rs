//! The report as text for a terminal: one row a run, figures right-aligned.

use super::histogram::{Percentiles, QUANTILES};
use super::result::{Report, RunResult, grouped};

/// Column heads of a run's row, shared with the page.
pub fn heads() -> Vec<&'static str> {
    let mut heads = vec!["mode", "conns x in flight", "msg/s"];
    heads.extend(QUANTILES.iter().map(|(name, _)| *name));
    heads.extend([
        "max us",
        "broker us/msg",
        "load us/msg",
        "bytes/msg",
        "flushes/msg",
        "errors",
    ]);
    heads
}

/// A run's cells, in the order of [`heads`].
pub fn cells(run: &RunResult) -> Vec<String> {
    let percentiles = run.percentiles();
    let mut cells = vec![
        run.name.clone(),
        run.shape.label(),
        grouped(run.messages_per_second().round() as u64),
    ];
    cells.extend(percentiles.in_order().map(micros));
    cells.extend([
        micros(percentiles.max_us),
        optional(run.broker_cpu_us_per_message(), 2),
        optional(run.load_cpu_us_per_message(), 2),
        optional(run.bytes_written_per_message(), 0),
        optional(run.flushes_per_message(), 4),
        grouped(run.error_count() + run.unanswered),
    ]);
    cells
}

pub fn text(report: &Report) -> String {
    let mut text = format!("{}\n", report.title);
    let machine = &report.machine;
    text.push_str(&format!(
        "{} cores {}, Linux {}, disk {}\n",
        machine.cores, machine.cpu_model, machine.kernel, machine.disk
    ));
    if let Some(floor) = &report.floor {
        text.push_str("\nfloor of this machine, same run (us)\n");
        let mut rows = vec![floor_heads()];
        rows.push(floor_cells(
            "4 KiB dsync write",
            &Percentiles::of(&floor.dsync_write_ns),
        ));
        rows.push(floor_cells(
            "loopback echo 1 KiB",
            &Percentiles::of(&floor.loopback_echo_ns),
        ));
        text.push_str(&aligned(&rows, 1));
    }
    text.push('\n');
    let mut rows = vec![heads().into_iter().map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(report.runs.iter().map(cells));
    text.push_str(&aligned(&rows, 2));
    for run in &report.runs {
        for (cause, count) in &run.errors {
            text.push_str(&format!(
                "{} {}: {} x {cause}\n",
                run.name,
                run.shape.label(),
                grouped(*count)
            ));
        }
        if run.unanswered > 0 {
            text.push_str(&format!(
                "{} {}: {} without an answer when the run ended\n",
                run.name,
                run.shape.label(),
                grouped(run.unanswered)
            ));
        }
    }
    for note in &report.notes {
        text.push_str(&format!("{note}\n"));
    }
    text
}

pub fn floor_heads() -> Vec<String> {
    let mut heads = vec!["floor".to_owned()];
    heads.extend(QUANTILES.iter().map(|(name, _)| (*name).to_owned()));
    heads.extend(["max us".to_owned(), "per second".to_owned()]);
    heads
}

pub fn floor_cells(name: &str, percentiles: &Percentiles) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    cells.extend(percentiles.in_order().map(micros));
    cells.push(micros(percentiles.max_us));
    let per_second = if percentiles.mean_us > 0.0 {
        1e6 / percentiles.mean_us
    } else {
        0.0
    };
    cells.push(grouped(per_second.round() as u64));
    cells
}

/// Four digits are as many as the measurement carries.
fn micros(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        grouped(value.round() as u64)
    }
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Columns as wide as their widest cell; the first `names` columns to the left, figures to the right.
fn aligned(rows: &[Vec<String>], names: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            if column < names {
                line.push_str(&format!("{cell:<width$}  "));
            } else {
                line.push_str(&format!("{cell:>width$}  "));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
        if at == 0 {
            let rule = widths
                .iter()
                .map(|width| "-".repeat(*width))
                .collect::<Vec<_>>();
            text.push_str(&rule.join("  "));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::result::tests::{SHAPE, example};

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["mode".to_owned(), "msg/s".to_owned()],
            vec!["sync".to_owned(), "1,000".to_owned()],
            vec!["a".to_owned(), "9".to_owned()],
        ];
        assert_eq!(
            aligned(&rows, 1),
            "mode  msg/s\n----  -----\nsync  1,000\na         9\n"
        );
    }

    #[test]
    fn a_report_shows_every_run_and_every_error() {
        let mut failed = example("async", SHAPE, 250_000);
        failed.errors.insert("2 SYSTEM_BUSY".to_owned(), 1234);
        failed.unanswered = 5;
        let report = Report {
            title: "send".to_owned(),
            command: String::new(),
            machine: Machine::default(),
            floor: None,
            runs: vec![example("sync", SHAPE, 100), failed],
            notes: vec!["a note".to_owned()],
        };
        let text = text(&report);
        let row = text.lines().find(|line| line.starts_with("sync")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[4], "5,000");
        assert!(text.contains("16 x 1"));
        assert!(text.contains("1,234 x 2 SYSTEM_BUSY"));
        assert!(text.contains("5 without an answer"));
        assert!(text.ends_with("a note\n"));
        assert_eq!(heads().len(), super::cells(&report.runs[0]).len());
    }
}
