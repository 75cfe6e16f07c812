//! The report as ONE self-contained HTML page: style and charts inline, nothing fetched, light and dark, printable.

use std::fmt::Write;

use super::chart::{self, COLOURS, FLOOR_COLOUR, Series, bar_chart, percentile_plot};
use super::histogram::{Percentiles, plot_points};
use super::result::{Report, RunResult, grouped};
use super::stages::STAGES;
use super::table;
use super::time_line;

pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    head(&mut page, report);
    for (class, lines) in [
        ("failure", report.interrupted.iter().cloned().collect()),
        ("failure", table::failures(report)),
        ("warning", report.warnings.clone()),
    ] {
        paragraphs(&mut page, class, &lines);
    }
    page.push_str("<h2>Load</h2>\n");
    paragraphs(&mut page, "load", &report.load);
    page.push_str("<div class=\"charts\">\n");
    page.push_str(&throughput(report));
    for group in groups(report) {
        page.push_str(&latency(report, &group));
        page.push_str(&course(report, &group));
    }
    page.push_str("</div>\n<h2>Results (latencies in us)</h2>\n");
    let heads: Vec<String> = table::COLUMNS.map(|(head, _)| head.to_owned()).to_vec();
    let cells: Vec<Vec<String>> = report.runs.iter().map(table::cells).collect();
    rows(
        &mut page,
        &errors_in_front(heads),
        &cells.into_iter().map(errors_in_front).collect::<Vec<_>>(),
    );
    paragraphs(&mut page, "note", &report.notes);
    let stages = table::stage_rows(report);
    if !stages.is_empty() {
        let title = table::STAGES_TITLE;
        let _ = writeln!(
            page,
            "<h2>{}{}</h2>",
            title[..1].to_uppercase(),
            &title[1..]
        );
        rows(&mut page, &table::stage_heads(), &stages);
    }
    if let Some(floor) = &report.floor {
        page.push_str("<h2>Floor of this machine, measured in the same run (us)</h2>\n");
        let write =
            table::floor_cells("4 KiB dsync write", &Percentiles::of(&floor.dsync_write_ns));
        let echo = table::floor_cells(
            "loopback echo 1 KiB",
            &Percentiles::of(&floor.loopback_echo_ns),
        );
        rows(&mut page, &table::floor_heads(), &[write, echo]);
    }
    legend(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}

fn head(page: &mut String, report: &Report) {
    let title = escaped(&report.title);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let machine = &report.machine;
    let _ = writeln!(
        page,
        "<p class=\"machine\">{} cores {}, {} MiB, Linux {}, disk {}. ringmq {}. <code>{}</code></p>",
        machine.cores,
        escaped(&machine.cpu_model),
        grouped(machine.memory_mib),
        escaped(&machine.kernel),
        escaped(&machine.disk),
        machine.version,
        escaped(&report.command),
    );
}

/// The column of errors behind the throughput, where it is seen on narrow screens and on paper.
fn errors_in_front(mut cells: Vec<String>) -> Vec<String> {
    let errors = table::COLUMNS
        .iter()
        .position(|(head, _)| *head == "errors");
    let errors = cells.remove(errors.expect("there is such a column"));
    cells.insert(3, errors);
    cells
}

fn paragraphs(page: &mut String, class: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(page, "<p class=\"{class}\">{}</p>", escaped(line));
    }
}

/// What each column and each line of the charts means.
fn legend(page: &mut String, report: &Report) {
    page.push_str("<h2>How to read it</h2>\n<dl>\n");
    let floor = report.floor.is_some().then_some(&table::FLOOR_MEANING);
    let has_stages = report.runs.iter().any(|run| run.send_stages.is_some());
    let stages = STAGES.iter().filter(|_| has_stages);
    for (term, meaning) in table::COLUMNS.iter().chain(stages).chain(floor) {
        let _ = writeln!(
            page,
            "<dt>{}</dt><dd>{}</dd>",
            escaped(&term.replace('_', " ")),
            escaped(meaning)
        );
    }
    page.push_str("</dl>\n");
    paragraphs(
        page,
        "note",
        &["A line of a chart ends where the number of messages does not support a higher percentile.".to_owned()],
    );
}

/// Labels of the shapes, in the order of the runs, each once.
fn groups(report: &Report) -> Vec<String> {
    each_once(report.runs.iter().map(|run| run.shape.label()))
}

fn names(report: &Report) -> Vec<String> {
    each_once(report.runs.iter().map(|run| run.name.clone()))
}

fn each_once(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

fn find<'a>(report: &'a Report, name: &str, group: &str) -> Option<&'a RunResult> {
    report
        .runs
        .iter()
        .find(|run| run.name == name && run.shape.label() == group)
}

fn throughput(report: &Report) -> String {
    let groups = groups(report);
    let rate = |name: &str, group: &String| {
        find(report, name, group).map_or(0.0, RunResult::messages_per_second)
    };
    let series: Vec<Series<Vec<f64>>> = names(report)
        .into_iter()
        .zip(COLOURS.iter().cycle())
        .map(|(name, colour)| Series {
            values: groups.iter().map(|group| rate(&name, group)).collect(),
            name,
            colour: *colour,
        })
        .collect();
    bar_chart("Throughput", "messages per second", &groups, &series)
}

fn latency(report: &Report, group: &str) -> String {
    let mut series: Vec<Series<Vec<(f64, f64)>>> = names(report)
        .into_iter()
        .zip(COLOURS.iter().cycle())
        .filter_map(|(name, colour)| {
            Some(Series {
                values: plot_points(&find(report, &name, group)?.latency_ns),
                name,
                colour: *colour,
            })
        })
        .collect();
    if let Some(floor) = &report.floor {
        series.push(Series {
            name: "bare dsync write".to_owned(),
            colour: FLOOR_COLOUR,
            values: plot_points(&floor.dsync_write_ns),
        });
    }
    percentile_plot(&format!("Latency, {group}"), &series)
}

/// What the runs of a load were like from beginning to end.
fn course(report: &Report, group: &str) -> String {
    let named = names(report).into_iter().zip(COLOURS.iter().cycle());
    let runs = named.filter_map(|(name, colour)| Some((find(report, &name, group)?, *colour)));
    let mut series = Vec::new();
    let mut stood_still = Vec::new();
    for (run, colour) in runs {
        series.push(Series {
            name: run.name.clone(),
            colour,
            values: time_line::points(&run.time_line.slowest_ns),
        });
        stood_still.extend(time_line::points(&run.time_line.hiccup_ns));
    }
    series.push(Series {
        name: "the machine stood still".to_owned(),
        colour: FLOOR_COLOUR,
        values: stood_still,
    });
    chart::time_line(&format!("Course, {group}"), &series)
}

fn rows(page: &mut String, heads: &[String], rows: &[Vec<String>]) {
    page.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    for head in heads {
        let _ = write!(page, "<th>{}</th>", escaped(head));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escaped(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// Text that is safe between tags and inside a quoted attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const STYLE: &str = "
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 1180px; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
p { margin: .3rem 0; } .machine, .note, dd { opacity: .75; }
.failure, .warning { border-left: .3rem solid #d62828; padding-left: .6rem; font-weight: 600; }
.warning { border-color: #d99000; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 1rem; margin-top: 1rem; }
svg { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 12px; }
th, td { padding: .25rem .45rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { font-weight: 600; } dd { margin: 0; }
@media print {
  body { margin: 0; max-width: none; font-size: 10px; } table { font-size: 7px; } th, td { padding: .1rem .2rem; }
  .wide { overflow: visible; } .charts { grid-template-columns: 1fr 1fr; }
  svg, table, dl { break-inside: avoid; } h2 { break-after: avoid; }
}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::histogram::latency_histogram;
    use crate::bench::machine::Machine;
    use crate::bench::result::Floor;
    use crate::bench::result::tests::{SHAPE, example};

    #[test]
    fn the_page_is_well_formed_and_fetches_nothing() {
        let mut floor = latency_histogram();
        floor.record(50_000).unwrap();
        let report = Report {
            title: "sync <against> async & \"others\"".to_owned(),
            command: "ringmq bench flush".to_owned(),
            machine: Machine {
                cpu_model: "A<B>".to_owned(),
                ..Machine::default()
            },
            floor: Some(Floor {
                dsync_write_ns: floor.clone(),
                loopback_echo_ns: floor,
            }),
            runs: vec![example("sync", SHAPE, 900), example("async", SHAPE, 100)],
            load: vec!["bodies of 1,024 bytes".to_owned()],
            notes: vec!["1 < 2".to_owned()],
            warnings: vec!["one round".to_owned()],
            interrupted: None,
        };
        let page = html(&report);
        assert_eq!(unbalanced(&page), None);
        assert!(page.matches("<polyline").count() >= 3, "three lines");
        // Of the results, of the stages, and of the floor.
        assert_eq!(page.matches("<tr>").count(), 3 + 3 + 3);
        for text in [
            "bodies of 1,024 bytes",
            "one round",
            "1 &lt; 2",
            "@media print",
            "flushes/msg</dt>",
            "write wait</dt>",
        ] {
            assert!(page.contains(text), "no {text}");
        }
        for fetching in ["http:", "https:", "<script", "<link", "@import", "url("] {
            assert!(!page.contains(fetching), "{fetching}");
        }
        assert!(page.contains("color-scheme: light dark") && page.contains("currentColor"));
    }

    #[test]
    fn failures_stand_on_top() {
        let mut failed = example("sync", SHAPE, 900);
        failed.errors.insert("code 2 SYSTEM_BUSY".to_owned(), 8_201);
        let report = Report {
            title: "t".to_owned(),
            command: String::new(),
            machine: Machine::default(),
            load: Vec::new(),
            floor: None,
            runs: vec![failed],
            notes: Vec::new(),
            warnings: Vec::new(),
            interrupted: Some("interrupted after 1.5 of 10 s".to_owned()),
        };
        let page = html(&report);
        let charts = page.find("<svg").unwrap();
        for text in [
            "8,201 x code 2 SYSTEM_BUSY",
            "interrupted after 1.5 of 10 s",
        ] {
            assert!(page.find(text).is_some_and(|at| at < charts), "no {text}");
        }
        let cells = errors_in_front(table::cells(&report.runs[0]));
        assert_eq!(cells[3], "8,201");
    }

    #[test]
    fn the_check_finds_what_is_not_well_formed() {
        assert_eq!(unbalanced("<a><b/></a>"), None);
        assert!(unbalanced("<a><b></a>").is_some());
        assert!(unbalanced("<a>").is_some());
        assert!(unbalanced("<a>1 < 2</a>").is_some());
        assert!(unbalanced("<a b=c></a>").is_some());
    }

    /// The first thing that an XML parser would stumble over, if any.
    fn unbalanced(page: &str) -> Option<String> {
        let mut open = Vec::new();
        let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap_or(page);
        while let Some(start) = rest.find('<') {
            let Some(end) = rest[start..].find('>') else {
                return Some("a tag without an end".to_owned());
            };
            let tag = &rest[start + 1..start + end];
            rest = &rest[start + end + 1..];
            let name = |text: &str| text.split_whitespace().next().unwrap_or("").to_owned();
            if let Some(closing) = tag.strip_prefix('/') {
                if open.pop() != Some(closing.to_owned()) {
                    return Some(format!("</{closing}> closes another tag"));
                }
                continue;
            }
            let inner = tag.strip_suffix('/').unwrap_or(tag);
            if !inner.starts_with(|first: char| first.is_ascii_alphabetic()) {
                return Some(format!("<{tag}> is no tag"));
            }
            for attribute in inner
                .split('"')
                .step_by(2)
                .skip(1)
                .filter(|gap| !gap.is_empty())
            {
                if !attribute.starts_with(' ') {
                    return Some(format!("<{tag}>: no space between attributes"));
                }
            }
            if inner.matches('=').count() > 0 && !inner.contains("=\"") {
                return Some(format!("<{tag}>: an attribute without quotes"));
            }
            if !tag.ends_with('/') {
                open.push(name(inner));
            }
        }
        open.pop().map(|tag| format!("<{tag}> is never closed"))
    }
}
