//! Runs a command to which the kernel refuses io_uring, as a container does with the usual seccomp profile (EPERM) or gVisor (ENOSYS):
//!
//! ```sh
//! cargo run --example without_io_uring -- EPERM cargo test
//! ```

#[allow(dead_code)] // Tests of the binary use the rest.
mod sandbox;

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use sandbox::{Forbidden, NO_URING, NO_URING_KNOWN, forbid};

fn main() {
    let mut words = env::args().skip(1);
    let (Some(error), Some(program)) = (words.next(), words.next()) else {
        panic!("usage: without_io_uring EPERM|ENOSYS COMMAND [ARGUMENTS]");
    };
    let mut command = Command::new(&program);
    // A cargo below this one would take what `cargo run` says of this example for a change, and build crates again that ask for it.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    forbid(&mut command, forbidden(&error));
    // It returns only if it fails.
    let failed = command.args(words).exec();
    panic!("{program}: {failed}");
}

fn forbidden(error: &str) -> &'static [Forbidden] {
    match error {
        "EPERM" => NO_URING,
        "ENOSYS" => NO_URING_KNOWN,
        other => panic!("{other} is neither EPERM nor ENOSYS"),
    }
}
