//! The log's segment files: several are filled first, and removed under the load.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use ringmq::wire::codes::{request, response};
use ringmq::wire::loose_json;
use ringmq::wire::stats::KvTable;

use crate::caller::{Caller, PATIENCE, Result};

/// As `scale.sh` starts the broker of this case.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Files that are removed.
const FILES: u64 = 3;

const BODY_BYTES: usize = 1 << 20;

/// Sends until there are [`FILES`] complete files behind the one that is being written.
pub fn fill(broker: SocketAddr, topic: &str) -> Result<()> {
    let mut caller = Caller::connect(broker)?;
    let body = vec![b'x'; BODY_BYTES];
    while position(&mut caller, "commitLogMaxOffset")? <= FILES * SEGMENT_BYTES {
        for _ in 0..8 {
            let code = caller.send_body(topic, 0, &body)?;
            if code != response::SUCCESS {
                return Err(format!("a message was answered with {code}").into());
            }
        }
    }
    Ok(())
}

/// Has the complete files removed while messages of 64 KiB are sent without a pause.
pub fn remove(broker: SocketAddr, topic: &str) -> Result<String> {
    let (mut sender, mut admin) = (Caller::connect(broker)?, Caller::connect(broker)?);
    let before = position(&mut admin, "commitLogMinOffset")?;
    let (code, _) = admin.ask(request::DELETE_EXPIRED_COMMITLOG, &[], &[])?;
    if code != response::SUCCESS {
        return Err(format!("the removal was answered with {code}").into());
    }
    let (began, body) = (Instant::now(), vec![b'x'; 64 << 10]);
    let mut sent = 0;
    loop {
        for _ in 0..16 {
            sender.send_body(topic, 0, &body)?;
            sent += 1;
        }
        let removed = (position(&mut admin, "commitLogMinOffset")? - before) / SEGMENT_BYTES;
        let took = began.elapsed();
        if removed >= FILES {
            let seconds = took.as_secs_f64();
            return Ok(format!(
                "{removed} files of 64 MiB removed within {seconds:.1} s, {sent} sends beside it"
            ));
        }
        if took > PATIENCE {
            return Err(format!("{removed} files were removed in {took:?}").into());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A position of the log, as the broker's runtime info has it.
fn position(caller: &mut Caller, name: &str) -> Result<u64> {
    let (_, body) = caller.ask(request::GET_BROKER_RUNTIME_INFO, &[], &[])?;
    let info: KvTable = loose_json::from_slice(body)?;
    let position = info
        .table
        .get(name)
        .ok_or("the broker has no such figure")?;
    Ok(position.parse()?)
}
