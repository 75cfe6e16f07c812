//! Asks a broker for its runtime figures, as `mqadmin brokerStatus` does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::wire::codes::request;
use crate::wire::exchange::Exchange;
use crate::wire::loose_json;
use crate::wire::stats::KvTable;

const PATIENCE: Duration = Duration::from_secs(3);

pub fn ask(broker: SocketAddr) -> io::Result<BTreeMap<String, String>> {
    let mut stream = TcpStream::connect_timeout(&broker, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut exchange = Exchange::default();
    stream.write_all(&exchange.request(request::GET_BROKER_RUNTIME_INFO, &[], &[]))?;
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(answer) = exchange.answer().map_err(io::Error::other)? {
            let table: KvTable = loose_json::from_slice(&answer.body).map_err(io::Error::other)?;
            return Ok(table.table);
        }
        let count = match stream.read(&mut chunk) {
            // The load generator's ring interrupts its thread, and a read with a timeout is not restarted (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        exchange.received(&chunk[..count]);
    }
}
