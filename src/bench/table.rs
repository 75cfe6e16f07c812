//! The report as text for a terminal: one row a run, figures right-aligned.

use super::hiccups::Hiccups;
use super::histogram::{Percentiles, QUANTILES};
use super::result::{Report, RunResult, grouped};
use super::stages::STAGES;

/// Columns of a run's row, and what they mean.
pub const COLUMNS: [(&str, &str); 15] = [
    ("mode", "what was run: sync or async flush, or the command"),
    (
        "conns x in flight",
        "closed loop: connections x requests in flight on each, the next is sent when one is answered; \
         or open loop: connections and messages per second, sent on a schedule whatever the answers do",
    ),
    (
        "msg/s",
        "messages acknowledged per second of the measured window",
    ),
    (
        "p50",
        "half of the messages were answered within this time; counted from the intended send time",
    ),
    ("p90", "90 % of the messages were answered within this time"),
    ("p99", "99 % of the messages were answered within this time"),
    (
        "p99.9",
        "99.9 % of the messages were answered within this time",
    ),
    (
        "p99.99",
        "99.99 % of the messages were answered within this time",
    ),
    ("max us", "the longest time of all messages"),
    (
        "broker us/msg",
        "CPU time of the broker per acknowledged message",
    ),
    (
        "load us/msg",
        "CPU time of the load generator per message; - in an open loop, where it spins",
    ),
    (
        "bytes/msg",
        "bytes that the broker wrote to its log per message",
    ),
    (
        "flushes/msg",
        "flushes of the device that the broker's log caused per message",
    ),
    (
        "errors",
        "messages that were refused, failed or not answered in the measured window",
    ),
    (
        "hiccups ms",
        "how long this machine itself stood still in the measured window, as another virtual machine had its core, say: in all, and the longest \
         at once; the latencies have it in them, and it is not the broker's",
    ),
];

/// Of a broker that measures them.
pub const STAGES_TITLE: &str = "where the broker spends the time of a send (mean us)";

pub const FLOOR_MEANING: (&str, &str) = (
    "floor",
    "what no broker can beat here: a bare durable write of one block (O_DIRECT, O_DSYNC), and a bare round trip over loopback",
);

pub fn heads() -> Vec<&'static str> {
    COLUMNS.iter().map(|(head, _)| *head).collect()
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
        hiccups(&run.hiccups),
    ]);
    cells
}

pub fn stage_heads() -> Vec<String> {
    let names = STAGES.iter().map(|(name, _)| name.replace('_', " "));
    let runs = [COLUMNS[0].0.to_owned(), COLUMNS[1].0.to_owned()];
    runs.into_iter().chain(names).collect()
}

/// A row for each run in which there were sends, in the order of [`stage_heads`].
pub fn stage_rows(report: &Report) -> Vec<Vec<String>> {
    let rows = report.runs.iter().filter_map(|run| {
        let means = run.send_stages?.means_us();
        let cells = means.map(|mean| mean.map_or_else(|| "-".to_owned(), micros));
        let of_run = [run.name.clone(), run.shape.label()];
        let has_some = means.iter().any(Option::is_some);
        has_some.then(|| of_run.into_iter().chain(cells).collect())
    });
    rows.collect()
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
        let write = floor_cells("4 KiB dsync write", &Percentiles::of(&floor.dsync_write_ns));
        let echo = floor_cells(
            "loopback echo 1 KiB",
            &Percentiles::of(&floor.loopback_echo_ns),
        );
        text.push_str(&aligned(&[floor_heads(), write, echo], 1));
    }
    text.push('\n');
    let mut rows = vec![heads().into_iter().map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(report.runs.iter().map(cells));
    text.push_str(&aligned(&rows, 2));
    let stages = stage_rows(report);
    if !stages.is_empty() {
        text.push_str(&format!("\n{STAGES_TITLE}\n"));
        let rows: Vec<_> = [stage_heads()].into_iter().chain(stages).collect();
        text.push_str(&aligned(&rows, 2));
        text.push('\n');
    }
    let warnings = report
        .warnings
        .iter()
        .map(|text| format!("warning: {text}"));
    let lines = report.load.iter().chain(&report.notes).cloned();
    for line in failures(report)
        .into_iter()
        .chain(lines)
        .chain(warnings)
        .chain(report.interrupted.clone())
    {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// What went wrong in the runs, a line for each cause.
pub fn failures(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for run in &report.runs {
        let of_run = format!("{} {}", run.name, run.shape.label());
        for (cause, count) in &run.errors {
            lines.push(format!("{of_run}: {} x {cause}", grouped(*count)));
        }
        if run.unanswered > 0 {
            let count = grouped(run.unanswered);
            lines.push(format!("{of_run}: {count} not answered when the run ended"));
        }
    }
    lines
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
pub fn micros(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        grouped(value.round() as u64)
    }
}

fn hiccups(seen: &Hiccups) -> String {
    match seen.count {
        0 => "0".to_owned(),
        _ => format!("{}, {}", seen.total.as_millis(), seen.longest.as_millis()),
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
            load: Vec::new(),
            notes: vec!["a note".to_owned()],
            warnings: vec!["one round".to_owned()],
            interrupted: Some("interrupted after 1 of 3 turns".to_owned()),
        };
        let text = text(&report);
        let row = text.lines().find(|line| line.starts_with("sync")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[4], "5,000");
        assert!(text.contains("16 x 1"));
        assert!(text.contains("1,234 x 2 SYSTEM_BUSY"));
        assert!(text.contains("5 not answered"));
        assert!(text.ends_with("a note\nwarning: one round\ninterrupted after 1 of 3 turns\n"));
        assert_eq!(heads().len(), super::cells(&report.runs[0]).len());
        let (_, stages) = text.split_once(STAGES_TITLE).unwrap();
        let row = stages.lines().find(|line| line.starts_with("sync"));
        let cells: Vec<&str> = row.unwrap().split_whitespace().collect();
        assert_eq!(cells[4..], ["2.0", "0.5", "1.5", "-", "90.0", "0.0", "0.0"]);
    }
}
