//! `ringmq print`: files for an operator, which the binary carries.

mod alerts;
mod grafana;

use clap::Subcommand;

use super::pages::{self, CompletionsArgs};

/// Print a file for other programs.
#[derive(Subcommand)]
pub enum PrintCommand {
    /// A Grafana dashboard of the metrics, as JSON to be imported
    #[command(after_help = "Example:\n  ringmq print grafana > ringmq.json")]
    Grafana,
    /// Alert rules for Prometheus, as YAML
    #[command(after_help = "Example:\n  ringmq print alerts > ringmq.rules.yml")]
    Alerts,
    /// A unit for systemd that runs a broker as a user of its own
    #[command(after_help = "Example:\n  ringmq print systemd > /etc/systemd/system/ringmq.service")]
    Systemd,
    /// A seccomp profile for containers that allows io_uring beside what Docker allows
    #[command(after_help = SECCOMP_EXAMPLES)]
    Seccomp,
    Completions(CompletionsArgs),
}

const SECCOMP_EXAMPLES: &str = "\
Examples:
  ringmq print seccomp > ringmq.json && docker run --security-opt seccomp=ringmq.json ringmq
  ringmq print seccomp > /var/lib/kubelet/seccomp/ringmq.json    # seccompProfile: type Localhost, localhostProfile ringmq.json";

/// A broker as a service.
const UNIT: &str = include_str!("ringmq.service");

/// Without conditions on the container's capabilities, which only Docker reads: Podman, containerd and Kubernetes take it as it is.
const SECCOMP: &str = include_str!("seccomp.json");

pub fn run(command: &PrintCommand) {
    match command {
        PrintCommand::Grafana => println!("{:#}", grafana::dashboard()),
        PrintCommand::Alerts => print!("{}", alerts::RULES),
        PrintCommand::Systemd => print!("{UNIT}"),
        PrintCommand::Completions(args) => pages::completions(args),
        PrintCommand::Seccomp => print!("{SECCOMP}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;
    use crate::metrics::{Kind, families};

    const COMMON: [&str; 6] = ["cluster", "node_id", "node_type", "le", "instance", "job"];

    /// The words of an expression that name a metric, with the labels that follow in braces.
    fn metrics(expression: &str) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let mut rest = expression;
        while let Some(begin) = rest.find(is_word) {
            rest = &rest[begin..];
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            if word.starts_with("rocketmq_") || word.starts_with("ringmq_") {
                let braces = behind
                    .strip_prefix('{')
                    .and_then(|inner| inner.split_once('}'));
                let inner = braces.map_or("", |(inner, _)| inner);
                let labels = inner
                    .split(',')
                    .filter_map(|pair| pair.split(['=', '!']).next());
                let labels = labels.map(|label| label.trim().to_owned());
                found.push((
                    word.to_owned(),
                    labels.filter(|label| !label.is_empty()).collect(),
                ));
            }
        }
        found
    }

    /// Labels that an expression aggregates by or matches on.
    fn aggregated(expression: &str) -> Vec<String> {
        let mut labels = Vec::new();
        for keyword in ["by (", "on (", "without ("] {
            for part in expression.split(keyword).skip(1) {
                let inner = part.split(')').next().unwrap_or_default();
                labels.extend(inner.split(',').map(|label| label.trim().to_owned()));
            }
        }
        labels
    }

    fn check(expression: &str) {
        let named = metrics(expression);
        assert!(!named.is_empty(), "no metric in {expression}");
        let mut known: Vec<&str> = COMMON.to_vec();
        for (name, labels) in &named {
            let of_name = |family: &&families::Family| {
                let rest = name.strip_prefix(family.name);
                let is_histogram = family.kind == Kind::Histogram;
                match rest {
                    Some("") => !is_histogram,
                    Some("_bucket" | "_count" | "_sum") => is_histogram,
                    _ => false,
                }
            };
            let family = families::ALL.iter().find(of_name);
            let family = family.unwrap_or_else(|| panic!("{name} is not exported: {expression}"));
            for label in labels {
                let is_known = COMMON.contains(&&**label) || family.labels.contains(&&**label);
                assert!(is_known, "{name} has no label {label}: {expression}");
            }
            known.extend(family.labels);
        }
        for label in aggregated(expression) {
            assert!(known.contains(&&*label), "no label {label}: {expression}");
        }
        let count = |c| expression.matches(c).count();
        assert_eq!(
            (count('('), count('{')),
            (count(')'), count('}')),
            "{expression}"
        );
    }

    #[test]
    fn the_dashboard_reads_what_is_exported() {
        let expressions = grafana::expressions();
        assert!(expressions.len() > 40);
        expressions.iter().for_each(|expression| check(expression));
    }

    #[test]
    fn the_alerts_read_what_is_exported() {
        let lines = alerts::RULES.lines().map(str::trim);
        let expressions: Vec<_> = lines
            .filter_map(|line| line.strip_prefix("expr: "))
            .collect();
        let names = alerts::RULES.matches("- alert: ").count();
        assert!(names > 10 && expressions.len() == names);
        expressions.iter().for_each(|expression| check(expression));
    }

    #[test]
    fn the_unit_starts_what_there_is() {
        let line = UNIT
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let words = line.expect("a command").split(' ');
        assert!(Cli::try_parse_from(words).is_ok(), "{line:?}");
        let is_setting = |line: &&str| line.contains('=') || line.starts_with('[');
        let rest = UNIT
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(rest.clone().find(|line| !is_setting(line)), None);
        assert_eq!(rest.filter(|line| line.starts_with('[')).count(), 3);
    }

    #[test]
    #[should_panic(expected = "is not exported")]
    fn a_metric_that_is_not_exported_is_found() {
        check("rate(rocketmq_messages_in[1m])");
    }

    #[test]
    #[should_panic(expected = "no label")]
    fn a_label_that_a_metric_does_not_have_is_found() {
        check("sum by (group) (rate(rocketmq_messages_in_total[1m]))");
    }
}
