//! Arguments that cannot be: refused with exit code 2, as the parser of the command line does it.

use std::fmt;

/// A value that was given and is not possible here.
#[derive(Debug)]
pub struct UsageError(String);

impl UsageError {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

pub fn no_such_core(flag: &str, core: usize, available: &[usize]) -> anyhow::Error {
    let available: Vec<String> = available.iter().map(usize::to_string).collect();
    let text = format!(
        "{flag} {core}: no such core; this process may use {}",
        available.join(",")
    );
    UsageError::new(text).into()
}
