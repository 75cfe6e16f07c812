//! A Grafana dashboard. `grafana.txt` has what it shows:
//!
//! ```text
//! = Row
//! - Title of a panel [Grafana's name of its unit]
//!   what names a line : expression
//! ```

use serde_json::{Value, json};

const PANELS: &str = include_str!("grafana.txt");

/// What stands for longer texts in the expressions: the choice above the panels, and the span of a rate.
const SHORT: [(&str, &str); 3] = [
    ("HERE", r#"cluster=~"$cluster",node_id=~"$node""#),
    ("TOPIC", r#"topic=~"$topic""#),
    ("[LAST]", "[$__rate_interval]"),
];

/// Panels of a row, and their size in Grafana's units.
const COLUMNS: usize = 4;
const WIDTH: usize = 24 / COLUMNS;
const HEIGHT: usize = 8;

struct Row {
    title: &'static str,
    panels: Vec<Panel>,
}

struct Panel {
    title: &'static str,
    unit: &'static str,
    /// What names a line, and its expression.
    lines: Vec<(&'static str, String)>,
}

pub fn dashboard() -> Value {
    let (mut panels, mut y) = (Vec::new(), 0);
    for row in rows() {
        let place = json!({ "x": 0, "y": y, "w": 24, "h": 1 });
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": place,
            "panels": [],
        }));
        y += 1;
        for (index, panel) in row.panels.iter().enumerate() {
            let (x, line) = (index % COLUMNS * WIDTH, index / COLUMNS * HEIGHT);
            let place = json!({ "x": x, "y": y + line, "w": WIDTH, "h": HEIGHT });
            panels.push(shown(panel, panels.len() + 1, &place));
        }
        y += row.panels.len().div_ceil(COLUMNS) * HEIGHT;
    }
    json!({
        "title": "ringmq",
        "uid": "ringmq",
        "tags": ["ringmq", "rocketmq"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            { "name": "source", "type": "datasource", "query": "prometheus", "label": "Data source" },
            variable("cluster", "label_values(ringmq_shard_state, cluster)"),
            variable("node", r#"label_values(ringmq_shard_state{cluster=~"$cluster"}, node_id)"#),
            variable("topic", r#"label_values(rocketmq_messages_in_total{cluster=~"$cluster"}, topic)"#),
        ] },
        "panels": panels,
    })
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in PANELS.lines().filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("= ") {
            let panels = Vec::new();
            rows.push(Row { title, panels });
            continue;
        }
        let row = rows.last_mut().expect("a row comes first");
        if let Some(panel) = line.strip_prefix("- ") {
            let (title, unit) = panel.split_once(" [").expect("a panel has a unit");
            let (unit, lines) = (unit.trim_end_matches(']'), Vec::new());
            row.panels.push(Panel { title, unit, lines });
            continue;
        }
        let panel = row.panels.last_mut().expect("a panel comes first");
        let (legend, expression) = line.split_once(" : ").expect("a line has a legend");
        let long = SHORT
            .iter()
            .fold(expression.to_owned(), |text, (short, long)| {
                text.replace(short, long)
            });
        panel.lines.push((legend.trim(), long));
    }
    rows
}

fn shown(panel: &Panel, id: usize, place: &Value) -> Value {
    let lines = panel.lines.iter().enumerate();
    let targets: Vec<_> = lines
        .map(|(index, (legend, expression))| {
            let letter = char::from(b'A' + index as u8).to_string();
            json!({ "refId": letter, "expr": expression, "legendFormat": legend })
        })
        .collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "datasource": { "type": "prometheus", "uid": "$source" },
        "gridPos": place,
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
        "options": {
            "legend": { "displayMode": "list", "placement": "bottom" },
            "tooltip": { "mode": "multi", "sort": "desc" },
        },
        "targets": targets,
    })
}

/// What is chosen above the panels.
fn variable(name: &str, query: &str) -> Value {
    json!({
        "name": name,
        "type": "query",
        "datasource": { "type": "prometheus", "uid": "$source" },
        "query": query,
        "refresh": 2,
        "includeAll": true,
        "allValue": ".*",
        "multi": true,
        "current": { "text": "All", "value": "$__all" },
    })
}

/// All expressions of the panels.
#[cfg(test)]
pub fn expressions() -> Vec<String> {
    let panels = rows().into_iter().flat_map(|row| row.panels);
    let lines = panels.flat_map(|panel| panel.lines);
    lines.map(|(_, expression)| expression).collect()
}
