//! How often what happened: a judge that claims to be cruel shows its figures.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name. Those of several runs can be added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub operations: BTreeMap<&'static str, u64>,
    pub faults: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn operation(&mut self, name: &'static str, count: u64) {
        *self.operations.entry(name).or_default() += count;
    }

    pub fn fault(&mut self, name: &'static str, count: u64) {
        *self.faults.entry(name).or_default() += count;
    }

    pub fn add(&mut self, other: &Tally) {
        for (name, count) in &other.operations {
            self.operation(name, *count);
        }
        for (name, count) in &other.faults {
            self.fault(name, *count);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "operations: {}", Line(&self.operations))?;
        write!(f, "faults injected: {}", Line(&self.faults))
    }
}

struct Line<'a>(&'a BTreeMap<&'static str, u64>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.0.iter().filter(|(_, count)| **count > 0);
        for (n, (name, count)) in counted.enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {}", Grouped(*count))?;
        }
        Ok(())
    }
}

/// With a comma for every thousand.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "{}", self.0),
            more => write!(f, "{},{:03}", Grouped(more / 1_000), more % 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_reads_well() {
        let mut tally = Tally::default();
        tally.operation("reads", 1_204_007);
        tally.fault("sectors lost", 900);
        tally.fault("EIO", 0);
        let mut sum = tally.clone();
        sum.add(&tally);
        assert_eq!(
            sum.to_string(),
            "operations: reads 2,408,014\nfaults injected: sectors lost 1,800"
        );
    }
}
