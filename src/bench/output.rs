//! Where a report goes: the terminal, and a directory if one is wanted.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::BenchError;
use super::histogram::hgrm;
use super::page;
use super::result::Report;
use super::table;

#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The report on stdout is JSON instead of a table.
    pub json: bool,
    /// Gets `results.json`, `index.html` and one `.hgrm` file for each run.
    pub dir: Option<PathBuf>,
}

impl Output {
    /// Makes the directory: one that cannot be written is an error before the runs, not after them.
    pub fn prepare(&self) -> Result<(), BenchError> {
        self.dir.as_deref().map_or(Ok(()), |dir| {
            fs::create_dir_all(dir)
                .map_err(BenchError::io(format!("cannot make {}", dir.display())))
        })
    }

    pub fn write(&self, report: &Report) -> Result<(), BenchError> {
        let json = serde_json::to_string_pretty(report)
            .map_err(|error| BenchError::Other(error.to_string()))?;
        match self.json {
            true => println!("{json}"),
            false => print!("{}", table::text(report)),
        }
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        write(&dir.join("results.json"), &json)?;
        write(&dir.join("index.html"), &page::html(report))?;
        for run in &report.runs {
            let name = format!("{}-{}.hgrm", run.name, run.shape.slug());
            write(&dir.join(name), &hgrm(&run.latency_ns))?;
        }
        if let Some(floor) = &report.floor {
            write(
                &dir.join("floor-dsync-write.hgrm"),
                &hgrm(&floor.dsync_write_ns),
            )?;
            write(
                &dir.join("floor-loopback-echo.hgrm"),
                &hgrm(&floor.loopback_echo_ns),
            )?;
        }
        eprintln!("report: {}", dir.join("index.html").display());
        Ok(())
    }
}

/// A bar over the whole command on stderr; nothing where that is no terminal.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new(total: Duration) -> Self {
        let bar = ProgressBar::new(total.as_millis() as u64);
        let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {left} left  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        // The plan is known: no estimate is needed.
        let left = |state: &ProgressState, out: &mut dyn fmt::Write| {
            let left_ms = state.len().unwrap_or(0).saturating_sub(state.pos());
            let _ = write!(out, "{:>4} s", left_ms.div_ceil(1000));
        };
        bar.set_style(style.with_key("left", left));
        Self { bar }
    }

    pub fn step(&self, message: String) {
        self.bar.set_message(message);
    }

    /// `base` is the time of the steps that are done.
    pub fn at(&self, base: Duration, elapsed: Duration) {
        self.bar.set_position((base + elapsed).as_millis() as u64);
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).map_err(BenchError::io(format!("cannot write {}", path.display())))
}
