//! The report as ONE self-contained HTML page: style and charts inline, nothing fetched, light and dark.

use std::fmt::Write;

use super::chart::{Series, bar_chart, escaped, percentile_plot};
use super::histogram::{Percentiles, plot_points};
use super::result::{Report, RunResult, grouped};
use super::table;

pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
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
    page.push_str("<div class=\"charts\">\n");
    page.push_str(&throughput(report));
    for group in groups(report) {
        page.push_str(&latency(report, &group));
    }
    page.push_str("</div>\n");
    if let Some(floor) = &report.floor {
        page.push_str("<h2>Floor of this machine, same run (us)</h2>\n");
        rows(
            &mut page,
            &table::floor_heads(),
            &[
                table::floor_cells("4 KiB dsync write", &Percentiles::of(&floor.dsync_write_ns)),
                table::floor_cells(
                    "loopback echo 1 KiB",
                    &Percentiles::of(&floor.loopback_echo_ns),
                ),
            ],
        );
    }
    page.push_str("<h2>Runs (latencies in us)</h2>\n");
    let heads: Vec<String> = table::heads().into_iter().map(str::to_owned).collect();
    let cells: Vec<Vec<String>> = report.runs.iter().map(table::cells).collect();
    rows(&mut page, &heads, &cells);
    for note in &report.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(note));
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// Labels of the shapes, in the order of the runs, each once.
fn groups(report: &Report) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for run in &report.runs {
        let label = run.shape.label();
        if !groups.contains(&label) {
            groups.push(label);
        }
    }
    groups
}

fn names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for run in &report.runs {
        if !names.contains(&run.name.as_str()) {
            names.push(&run.name);
        }
    }
    names
}

fn find<'a>(report: &'a Report, name: &str, group: &str) -> Option<&'a RunResult> {
    report
        .runs
        .iter()
        .find(|run| run.name == name && run.shape.label() == group)
}

fn throughput(report: &Report) -> String {
    let groups = groups(report);
    let series: Vec<Series<Vec<f64>>> = names(report)
        .into_iter()
        .enumerate()
        .map(|(nth, name)| Series {
            name: name.to_owned(),
            class: class(nth),
            values: groups
                .iter()
                .map(|group| find(report, name, group).map_or(0.0, RunResult::messages_per_second))
                .collect(),
        })
        .collect();
    bar_chart("Messages per second", &groups, &series, |value| {
        grouped(value.round() as u64)
    })
}

fn latency(report: &Report, group: &str) -> String {
    let mut series: Vec<Series<Vec<(f64, f64)>>> = names(report)
        .into_iter()
        .enumerate()
        .filter_map(|(nth, name)| {
            Some(Series {
                name: name.to_owned(),
                class: class(nth),
                values: plot_points(&find(report, name, group)?.latency_ns),
            })
        })
        .collect();
    if let Some(floor) = &report.floor {
        series.push(Series {
            name: "bare dsync write".to_owned(),
            class: "floor",
            values: plot_points(&floor.dsync_write_ns),
        });
    }
    percentile_plot(&format!("Latency by percentile, {group}"), &series)
}

fn class(nth: usize) -> &'static str {
    ["a", "b", "c", "d"][nth % 4]
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

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2329; --dim: #69737d; --paper: #fff; --rule: #dde2e7;
  --a: #c8501e; --b: #1f6fb5; --c: #3c8f4a; --d: #8357a8; --floor: #9aa3ab; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7eb; --dim: #98a2ac; --paper: #14181c; --rule: #2d343b;
    --a: #f08a5b; --b: #63aef0; --c: #7cc98a; --d: #bd97dd; --floor: #6c757d; } }
body { margin: 2rem auto; max-width: 1180px; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.machine, .note { color: var(--dim); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--dim); font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
svg .title { fill: var(--ink); font-weight: 600; font-size: 13px; }
.grid { stroke: var(--rule); fill: none; } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.a { stroke: var(--a); } .line.b { stroke: var(--b); } .line.c { stroke: var(--c); } .line.d { stroke: var(--d); }
.line.floor { stroke: var(--floor); stroke-dasharray: 5 4; }
.bar.a { fill: var(--a); } .bar.b { fill: var(--b); } .bar.c { fill: var(--c); } .bar.d { fill: var(--d); }
.bar.floor { fill: var(--floor); }
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
            notes: vec!["1 < 2".to_owned()],
        };
        let page = html(&report);
        assert_eq!(unbalanced(&page), None);
        assert_eq!(page.matches("<polyline").count(), 3);
        assert_eq!(page.matches("<tr>").count(), 3 + 3);
        for fetching in ["http:", "https:", "<script", "<link", "@import", "url("] {
            assert!(!page.contains(fetching), "{fetching}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
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
