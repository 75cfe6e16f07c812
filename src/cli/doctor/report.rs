//! The screen, the JSON, and the exit code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::finding::{Fault, Finding, Severity};

pub struct Report {
    pub findings: Vec<Finding>,
    /// What was looked at, and what of it was not.
    pub looked_at: Vec<String>,
    pub left_out: Vec<String>,
    pub took: Duration,
}

/// Subjects of one fault on the screen, and in the JSON.
const SHOWN: usize = 3;
const LISTED: usize = 20;

/// Only warnings.
const WARNED: u8 = 3;

impl Report {
    /// The worst come first.
    pub fn new(
        mut findings: Vec<Finding>,
        looked_at: Vec<String>,
        left_out: Vec<String>,
        took: Duration,
    ) -> Self {
        findings.sort_by(|a, b| {
            (b.severity, a.fault, &a.subject).cmp(&(a.severity, b.fault, &b.subject))
        });
        Self {
            findings,
            looked_at,
            left_out,
            took,
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        match self.worst() {
            Some(Severity::Error) => ExitCode::FAILURE,
            Some(Severity::Warning) => ExitCode::from(WARNED),
            Some(Severity::Note) | None => ExitCode::SUCCESS,
        }
    }

    fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|found| found.severity).max()
    }

    /// The first findings of each fault, and the number of the others.
    fn bounded(&self, most: usize) -> (Vec<&Finding>, BTreeMap<Fault, usize>) {
        let mut counts: BTreeMap<Fault, usize> = BTreeMap::new();
        let shown = self.findings.iter().filter(|found| {
            let count = counts.entry(found.fault).or_default();
            *count += 1;
            *count <= most
        });
        let shown = shown.collect();
        counts.retain(|_, count| *count > most);
        counts.values_mut().for_each(|count| *count -= most);
        (shown, counts)
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        let count = |severity| {
            self.findings
                .iter()
                .filter(|it| it.severity == severity)
                .count()
        };
        let _ = writeln!(
            text,
            "ringmq doctor: errors {}, warnings {}, notes {}; {:.1} s",
            count(Severity::Error),
            count(Severity::Warning),
            count(Severity::Note),
            self.took.as_secs_f64()
        );
        let (shown, more) = self.bounded(SHOWN);
        for (place, found) in shown.iter().enumerate() {
            let row = found.fault.row();
            let severity = match found.severity {
                Severity::Error => "ERROR",
                Severity::Warning => "WARNING",
                Severity::Note => "NOTE",
            };
            let _ = writeln!(text, "\n{severity:<8} {} [{}]", row.title, row.name);
            for (name, value) in [
                ("where", &*found.subject),
                ("seen", &*found.seen),
                ("why", row.why),
                ("do", &*found.todo),
            ] {
                let _ = writeln!(text, "  {name:<6} {value}");
            }
            let is_last = shown
                .get(place + 1)
                .is_none_or(|next| next.fault != found.fault);
            if let Some(more) = more.get(&found.fault).filter(|_| is_last) {
                let _ = writeln!(text, "  and {more} more like this (--json lists {LISTED})");
            }
        }
        let _ = writeln!(text, "\nlooked at  {}", self.looked_at.join("; "));
        if !self.left_out.is_empty() {
            let _ = writeln!(text, "left out   {}", self.left_out.join("; "));
        }
        text
    }

    pub fn json(&self) -> Value {
        let (listed, more) = self.bounded(LISTED);
        let findings: Vec<Value> = listed.into_iter().map(shown).collect();
        let more = more.iter().map(|(fault, count)| (fault.row().name, *count));
        json!({
            "worst": self.worst(),
            "findings": findings,
            "more": more.collect::<BTreeMap<_, _>>(),
            "lookedAt": self.looked_at,
            "leftOut": self.left_out,
            "tookMs": self.took.as_millis() as u64,
        })
    }
}

fn shown(found: &Finding) -> Value {
    let row = found.fault.row();
    json!({
        "fault": row.name,
        "severity": found.severity,
        "what": row.title,
        "where": found.subject,
        "seen": found.seen,
        "why": row.why,
        "do": found.todo,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        let took = Duration::from_millis(2_100);
        Report::new(findings, vec!["1 broker".into()], vec![], took)
    }

    fn found(fault: Fault, subject: &str) -> Finding {
        Finding::new(fault, subject, "seen", "todo")
    }

    #[test]
    fn the_worst_decides_and_comes_first() {
        let note = || found(Fault::HugePages, "here");
        let warning = || found(Fault::Memlock, "here");
        let error = || found(Fault::Fenced, "broker-a");
        let code = |findings| format!("{:?}", report(findings).exit_code());
        let expected = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(vec![]), expected(0));
        assert_eq!(code(vec![note()]), expected(0));
        assert_eq!(code(vec![note(), warning()]), expected(3));
        assert_eq!(code(vec![warning(), error(), note()]), expected(1));
        let report = report(vec![note(), warning(), error()]);
        let severities: Vec<_> = report.findings.iter().map(|it| it.severity).collect();
        assert!(severities.is_sorted_by(|a, b| a >= b));
        let json = report.json();
        assert_eq!(json["worst"], "error");
        assert_eq!(json["findings"][0]["fault"], "fenced");
        assert!(
            report
                .text()
                .starts_with("ringmq doctor: errors 1, warnings 1, notes 1; 2.1 s\n")
        );
    }

    #[test]
    fn many_of_one_kind_take_little_room() {
        let many = (0..30).map(|place| found(Fault::NoConsumers, &format!("group {place:02}")));
        let report = report(many.collect());
        let text = report.text();
        assert_eq!(text.matches("no-consumers").count(), SHOWN);
        assert!(text.contains("and 27 more like this"), "{text}");
        let json = report.json();
        assert_eq!(json["findings"].as_array().unwrap().len(), LISTED);
        assert_eq!(json["more"]["no-consumers"], 10);
    }
}
