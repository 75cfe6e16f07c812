//! The scripts of `tests/clients`, and the tools that they need.

use std::path::Path;
use std::process::Command;

pub struct Script {
    command: Command,
    shown: String,
}

impl Script {
    pub fn new<W: AsRef<str>>(name: &str, words: &[W]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("bash");
        command.arg(path.join("tests/clients").join(name));
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        command.args(&words);
        Self {
            command,
            shown: format!("{name} {}", words.join(" ")),
        }
    }

    pub fn command(self) -> Command {
        self.command
    }

    /// Shows what it prints, and insists on its success.
    pub fn run(mut self) {
        let output = self.command.output().expect("bash is there");
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        println!("{}\n{out}", self.shown);
        let status = output.status;
        assert!(
            status.success(),
            "{} failed ({status}):\n{out}\n{err}",
            self.shown
        );
    }
}

/// Whether one of them is missing, which is said; an error where they are required.
pub fn missing(tools: &[&str]) -> bool {
    let absent: Vec<_> = tools.iter().filter(|tool| !is_there(tool)).collect();
    if absent.is_empty() {
        return false;
    }
    let text = format!(
        "skipped: {absent:?} not found. Real clients need a JDK (17 or newer), Maven and Go: \
         apt-get install openjdk-17-jdk-headless maven golang"
    );
    let is_required = std::env::var_os("RINGMQ_REQUIRE_CLIENTS").is_some();
    assert!(!is_required, "{text}");
    eprintln!("{text}");
    true
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}
