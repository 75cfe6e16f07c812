//! Protects the README: its shell snippets run as written, with the built binary as `ringmq` and a broker of the test's
//! own as the name server (NAMESRV_ADDR). The Rust snippet is compiled as a doctest, the Java snippet runs in `tests/clients`.

use std::path::Path;
use std::process::Command;

use crate::common::{Broker, Options, text_blocks};

#[test]
fn shell_snippets_run_as_written() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let blocks = text_blocks(&readme, "sh");
    let (commands, examples) = blocks.split_first().expect("the two commands come first");
    let commands: Vec<_> = commands
        .lines()
        .map(|line| line.split("  ").next())
        .collect();
    assert_eq!(
        commands,
        [Some("cargo run --release -- broker"), Some("cargo test")],
        "these two are how this test itself is run"
    );
    assert!(!examples.is_empty());

    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), &Options::small());
    let binary = Path::new(env!("CARGO_BIN_EXE_ringmq"))
        .parent()
        .expect("its folder");
    let path = std::env::var("PATH").unwrap_or_default();
    for block in examples {
        let output = Command::new("sh")
            .args(["-euc", block])
            .env("PATH", format!("{}:{path}", binary.display()))
            .env("NAMESRV_ADDR", broker.namesrv.to_string())
            .output()
            .expect("sh is there");
        assert!(output.status.success(), "{block}\n{output:?}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(r#"{"id":7}"#), "{block}\n{output:?}");
    }
    assert!(broker.terminate().success());
}
