//! CPU time of threads and processes, from `/proc/.../schedstat` (nanoseconds; `stat` counts in ticks of 10 ms).

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// CPU time of one thread of this process, by its kernel thread id.
pub fn of_thread(tid: u32) -> io::Result<Duration> {
    on_cpu(Path::new(&format!("/proc/self/task/{tid}/schedstat")))
}

/// CPU time of the calling thread.
pub fn of_this_thread() -> io::Result<Duration> {
    on_cpu(Path::new(THIS_THREAD))
}

/// CPU time of all living threads of a process, the kernel's I/O workers for it among them.
pub fn of_process(pid: u32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        if let Ok(cpu) = on_cpu(&task?.path().join("schedstat")) {
            sum += cpu;
        }
    }
    Ok(sum)
}

const THIS_THREAD: &str = "/proc/thread-self/schedstat";

/// How long the thread that has opened it was ready to run while others ran.
pub struct Waited(fs::File);

impl Waited {
    pub fn of_this_thread() -> io::Result<Self> {
        fs::File::open(THIS_THREAD).map(Self)
    }

    /// Until now.
    pub fn read(&self) -> io::Result<Duration> {
        let mut text = [0; 64];
        let len = self.0.read_at(&mut text, 0)?;
        let text = std::str::from_utf8(&text[..len]).map_err(io::Error::other)?;
        figure(text, 1, Path::new(THIS_THREAD))
    }
}

fn on_cpu(path: &Path) -> io::Result<Duration> {
    figure(&fs::read_to_string(path)?, 0, path)
}

/// A figure of `schedstat` in nanoseconds: the first is the time on a CPU, the second the time of waiting for one (kernel:
/// Documentation/scheduler/sched-stats.rst).
fn figure(text: &str, nth: usize, path: &Path) -> io::Result<Duration> {
    text.split_whitespace()
        .nth(nth)
        .and_then(|field| field.parse().ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| {
            io::Error::other(format!(
                "{}: got {text:?}, expected a number",
                path.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_up_for_the_thread_and_its_process() {
        let before = of_this_thread().unwrap();
        let mut sum = 0u64;
        // The kernel brings the figure up to date at ticks and switches: work until one has passed.
        let after = loop {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
            let now = of_this_thread().unwrap();
            if now > before {
                break now;
            }
        };
        assert!(of_process(std::process::id()).unwrap() >= after);
    }

    #[test]
    fn a_thread_that_does_not_exist_is_an_error() {
        assert!(of_thread(u32::MAX).is_err());
    }
}
