//! Protects connections over TLS from those between and from wrong certificates, of the built binary: our client refuses what is not the broker, the broker notices what was
//! changed or is played again, nothing of it counts, and both say so, in the log and in the metrics.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::certificates::{Authority, Encrypted, Identity, serving};
use crate::common::client::Client;
use crate::common::{Broker, Options, SMALL, free_ports, ringmq, wait_until};
use crate::metrics::scrape;

/// A broker with this certificate, and where its metrics are.
fn start(folder: &Path, shown: &Identity) -> (Broker, SocketAddr) {
    let (certificate, key) = shown.save(folder, "server");
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_ports().0));
    let config = format!(
        "{SMALL}{}metricsExporterType=PROM\nmetricsPromExporterHost=127.0.0.1\nmetricsPromExporterPort={}\n",
        serving(&certificate, &key),
        metrics.port()
    );
    let options = Options {
        config: &config,
        ..Options::default()
    };
    (Broker::start(&folder.join("store"), &options), metrics)
}

fn refused(metrics: SocketAddr, reason: &str) -> f64 {
    let labels = [("reason", reason)];
    scrape(metrics).value("ringmq_connections_refused_total", &labels)
}

fn all_refused(metrics: SocketAddr) -> f64 {
    let read = scrape(metrics);
    let all = read.find("ringmq_connections_refused_total", &[]);
    all.iter().map(|sample| sample.value).sum()
}

/// Our own client, which believes this authority: whether it has sent, and what it has said.
fn send(namesrv: SocketAddr, authority: &Authority) -> (bool, String) {
    let mut command = ringmq(["send", "--topic", "T", "--tls", "x", "--tls-ca"]);
    command.arg(&authority.file);
    command.args(["--namesrv", &namesrv.to_string()]);
    let output = command.output().expect("it runs");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    (output.status.success(), printed)
}

#[test]
fn our_client_refuses_an_expired_certificate_and_one_of_another_host() {
    let authority_of = |folder: &tempfile::TempDir| Authority::new(folder.path().join("ca.pem"));
    for (names, until, says) in [
        (&["localhost", "127.0.0.1"][..], 2020, "expired"),
        (&["elsewhere.example"], 3000, "not valid for name"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = authority_of(&folder);
        let (broker, metrics) = start(folder.path(), &authority.issue_for(names, until));
        let (is_sent, printed) = send(broker.namesrv, &authority);
        assert!(!is_sent && printed.contains(says), "{printed}");
        wait_until("the broker notices", || {
            refused(metrics, "refused_by_client") > 0.0
        });
        broker.log_with("TLS handshake has failed: received fatal alert");
        assert!(broker.terminate().success());
    }
    // One of an authority that it does not believe, and then one that it does.
    let folder = tempfile::tempdir().expect("a folder");
    let authority = authority_of(&folder);
    let stranger = Authority::new(folder.path().join("stranger.pem"));
    let (broker, metrics) = start(folder.path(), &authority.issue());
    let (is_sent, printed) = send(broker.namesrv, &stranger);
    assert!(!is_sent && printed.contains("certificate"), "{printed}");
    assert!(refused(metrics, "refused_by_client") > 0.0);
    let (is_sent, printed) = send(broker.namesrv, &authority);
    assert!(is_sent, "{printed}");
    // To the name server and to the broker, where it goes on with the same session.
    let read = scrape(metrics);
    let done = ["full", "resumed"]
        .map(|kind| read.value("ringmq_tls_handshakes_total", &[("kind", kind)]));
    assert!(done[0] >= 1.0 && done[0] + done[1] >= 2.0, "{done:?}");
    assert!(broker.terminate().success());
}

/// Which record is changed.
#[derive(Clone, Copy, Debug)]
struct Target {
    is_of_client: bool,
    number: usize,
}

/// The first ones of either side, without which there is no answer: of the client its three of the handshake and the first request.
const NEEDED: usize = 4;

/// Passes on what comes, and changes the last byte of one record of each connection.
struct Between {
    addr: SocketAddr,
    changed: Arc<AtomicUsize>,
}

impl Between {
    fn start(to: SocketAddr, target: Option<Target>, heard: Option<Heard>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("it has one");
        let changed = Arc::new(AtomicUsize::new(0));
        let count = changed.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(to).expect("the port listens");
                for is_of_client in [true, false] {
                    let ends = [&client, &server].map(|end| end.try_clone().expect("a handle"));
                    let [from, to] = match (is_of_client, ends) {
                        (true, ends) => ends,
                        (false, [client, server]) => [server, client],
                    };
                    let target = target.filter(|target| target.is_of_client == is_of_client);
                    let heard = heard.clone().filter(|_| is_of_client);
                    let count = count.clone();
                    thread::spawn(move || pass_on(from, to, target, heard, &count));
                }
            }
        });
        Self { addr, changed }
    }

    fn has_changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst) > 0
    }
}

/// What a client has sent.
type Heard = Arc<Mutex<Vec<u8>>>;

fn pass_on(
    mut from: TcpStream,
    mut to: TcpStream,
    target: Option<Target>,
    heard: Option<Heard>,
    changed: &AtomicUsize,
) {
    for number in 0.. {
        let Some(mut record) = record(&mut from) else {
            break;
        };
        if target.is_some_and(|target| target.number == number)
            && let Some(last) = record.last_mut()
        {
            *last ^= 1;
            changed.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(heard) = &heard {
            let mut heard = heard.lock().expect("nobody panics with it");
            heard.extend_from_slice(&record);
        }
        if to.write_all(&record).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The next record of TLS: its type, version and length, and what it has.
fn record(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut record = vec![0; 5];
    from.read_exact(&mut record).ok()?;
    let length = u16::from_be_bytes([record[3], record[4]]);
    record.resize(5 + usize::from(length), 0);
    from.read_exact(&mut record[5..]).ok()?;
    Some(record)
}

#[test]
fn a_record_that_somebody_between_has_changed_ends_the_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path().join("ca.pem"));
    let (broker, metrics) = start(folder.path(), &authority.issue());
    for is_of_client in [true, false] {
        for number in 0.. {
            let before = all_refused(metrics);
            let target = Target {
                is_of_client,
                number,
            };
            let between = Between::start(broker.namesrv, Some(target), None);
            let (is_sent, printed) = send(between.addr, &authority);
            if !between.has_changed() {
                assert!(is_sent, "{printed}");
                assert!(number > NEEDED, "{number} records");
                break;
            }
            // What comes later it may have needed no more.
            assert!(!is_sent || number >= NEEDED, "{target:?}: {printed}");
            if is_of_client {
                wait_until("the broker notices", || all_refused(metrics) > before);
            }
        }
    }
    for reason in ["no_handshake", "broken_record"] {
        assert!(refused(metrics, reason) > 0.0, "{reason}");
    }
    broker.log_with("a connection is refused");
    assert!(broker.terminate().success());
}

/// All that a client has sent, on a new connection.
#[test]
fn what_was_heard_is_no_connection_when_it_is_played_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path().join("ca.pem"));
    let (broker, metrics) = start(folder.path(), &authority.issue());
    let heard = Heard::default();
    let between = Between::start(broker.addr(), None, Some(heard.clone()));
    let mut client = Encrypted::connect(between.addr, &authority.client(None));
    assert_eq!(client.send("T", b"once").expect("an answer"), 0);
    let mut asked = Client::connect(broker.addr());
    let messages =
        |asked: &mut Client| -> u64 { (0..8).map(|queue| asked.max_offset("T", queue)).sum() };
    assert_eq!(messages(&mut asked), 1);

    let before = all_refused(metrics);
    let bytes = heard.lock().expect("nobody panics with it").clone();
    let mut again = TcpStream::connect(broker.addr()).expect("the port listens");
    // The other side may have closed already.
    let _ = again.write_all(&bytes);
    let mut answer = Vec::new();
    let _ = again.read_to_end(&mut answer);
    assert!(!answer.is_empty(), "its part of the handshake");
    assert_eq!(all_refused(metrics), before + 1.0);
    assert_eq!(messages(&mut asked), 1);
    assert!(broker.terminate().success());
}
