//! The machine on which the figures were measured.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu_model: String,
    pub cores: usize,
    pub memory_mib: u64,
    /// Block device under the measured directory, with its model if it has one.
    pub disk: String,
    pub version: &'static str,
}

impl Machine {
    /// `dir` is a directory on the disk in question.
    pub fn probe(dir: &Path) -> Self {
        Self {
            kernel: first_line("/proc/sys/kernel/osrelease"),
            cpu_model: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            disk: disk(dir).unwrap_or_else(|_| "unknown".to_owned()),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Where the kernel describes the block device under `dir`.
pub(super) fn device(dir: &Path) -> io::Result<PathBuf> {
    let id = fs::metadata(dir)?.dev();
    // The encoding of dev_t that glibc's major() and minor() undo.
    let major = ((id >> 8) & 0xfff) | ((id >> 32) & 0xffff_f000);
    let minor = (id & 0xff) | ((id >> 12) & 0xffff_ff00);
    fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))
}

fn disk(dir: &Path) -> io::Result<String> {
    let device = device(dir)?;
    let name = device
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    // A partition's model stands at its parent.
    let model = [device.join("device/model"), device.join("../device/model")]
        .iter()
        .map(first_line)
        .find(|model| !model.is_empty());
    let bytes = first_line(device.join("size")).parse::<u64>().unwrap_or(0) * 512;
    let size_gib = bytes / (1 << 30);
    Ok(match model {
        Some(model) => format!("{name} ({model}, {size_gib} GiB)"),
        None => format!("{name} ({size_gib} GiB)"),
    })
}

fn first_line(path: impl AsRef<Path>) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_and_cores() {
        let machine = Machine::probe(Path::new("/"));
        assert!(!machine.kernel.is_empty());
        assert!(machine.cores >= 1 && machine.memory_mib > 0);
    }
}
