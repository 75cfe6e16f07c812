//! Protects the README: its Java snippet compiles and runs with the stock client, but for the name server's address.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::scripts::{Script, missing};
use crate::common::{Broker, Options, text_blocks};

#[test]
fn the_java_snippet_sends_and_consumes() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let [snippet] = text_blocks(&readme, "java")
        .try_into()
        .expect("one snippet");
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), &Options::default());
    let snippet = snippet.replace("127.0.0.1:9876", &broker.namesrv.to_string());
    let source = folder.path().join("Quickstart.java");
    std::fs::write(&source, snippet).expect("a temporary file");

    let words = [folder.path(), &source].map(|path| path.to_str().expect("a plain name"));
    let mut command = Script::new("readme/run.sh", &words).command();
    let mut java = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash is there");
    let lines = BufReader::new(java.stdout.take().expect("a pipe")).lines();
    let mut expected = ["sendStatus=SEND_OK", "MessageExt ["]
        .into_iter()
        .peekable();
    for line in lines.map_while(Result::ok) {
        expected.next_if(|words| line.contains(words));
        if expected.peek().is_none() {
            break;
        }
    }
    // TERM, which timeout(1) passes on.
    let _ = Command::new("kill").arg(java.id().to_string()).status();
    let _ = java.wait();
    assert_eq!(expected.next(), None, "the snippet did not print that");
    assert!(broker.terminate().success());
}
