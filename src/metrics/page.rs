//! The table of the page `ringmq::manual::metrics`, from the rows of the families.

use super::families::{ALL, Family, Kind, Unit};

/// The row of a family.
fn row(family: &Family) -> String {
    let kind = match family.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
    };
    let fixed = family.fixed.iter().map(|(name, _)| format!("({name})"));
    let labels = family.labels.iter().map(|name| (*name).to_owned());
    let labels: Vec<_> = fixed.chain(labels).collect();
    let bounds = family.bounds.iter().map(|bound| match family.unit {
        Unit::AsRecorded => bound.to_string(),
        Unit::SecondsFromMicros => (*bound as f64 / 1e6).to_string(),
        Unit::SecondsFromNanos => (*bound as f64 / 1e9).to_string(),
    });
    let bounds: Vec<_> = bounds.collect();
    format!(
        "| `{}` | {kind} | {} | {} | {} |",
        family.name,
        labels.join(" "),
        bounds.join(" "),
        family.help
    )
}

/// The page with its table as the rows say.
fn page(text: &str) -> String {
    const HEAD: &str = "| Metric | Type | Labels | Bounds | |\n|---|---|---|---|---|\n";
    let (before, rest) = text.split_once(HEAD).expect("the page has the table");
    let behind = rest.lines().skip_while(|line| line.starts_with('|'));
    let behind: Vec<_> = behind.collect();
    let rows: Vec<_> = ALL.iter().map(row).collect();
    let mut page = format!("{before}{HEAD}{}\n{}", rows.join("\n"), behind.join("\n"));
    if !page.ends_with('\n') {
        page.push('\n');
    }
    page
}

#[test]
fn the_page_has_every_metric_as_its_row_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(path, page(&text)).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text == page(&text),
        "metrics.md is old: UPDATE_PAGES=1 cargo test --lib metrics::"
    );
}
