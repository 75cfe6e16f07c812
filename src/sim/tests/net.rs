//! What connections go through.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use super::super::*;
use super::disk::{file_of, write};
use super::sim;
use crate::io::{Clock, Disk, Durability, Listener, Net, Spawn, Stream};

#[test]
fn hosts_have_disks_and_addresses_of_their_own() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        write(&file_of(&a).await, 0, 1, Durability::Written).await;
        assert_eq!(b.list(Path::new("/")).await.unwrap(), []);
        let (client, server) = connected(&a, &b).await;
        assert_eq!(client.peer_addr().ip(), b.ip());
        assert_eq!(server.peer_addr().ip(), a.ip());

        let local = b.listen("127.0.0.1:99".parse().unwrap()).unwrap();
        let from_outside = a.connect(SocketAddr::new(b.ip(), 99)).await.err().unwrap();
        assert_eq!(from_outside.kind(), ErrorKind::ConnectionRefused);
        let inside = b.connect(local.local_addr()).await.unwrap();
        assert_eq!(inside.peer_addr(), local.local_addr());
        let nowhere = a
            .connect("10.9.9.9:1".parse().unwrap())
            .await
            .err()
            .unwrap();
        assert_eq!(nowhere.kind(), ErrorKind::HostUnreachable);
    });
}

#[test]
fn the_window_bounds_what_a_sender_gets_rid_of() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        let (client, server) = connected(&a, &b).await;
        let sent = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&sent);
        a.spawn("test", async move {
            loop {
                client.send(vec![1; 1000]).await.0.unwrap();
                *counted.borrow_mut() += 1000;
            }
        });
        sim.sleep(Duration::from_secs(1)).await;
        let window = SimConfig::default().net_window_bytes;
        assert_eq!(*sent.borrow(), window / 1000 * 1000);
        let mut read = 0;
        while read < 10_000 {
            read += server.recv().await.unwrap().len();
        }
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(*sent.borrow(), (window + read) / 1000 * 1000);
    });
}

#[test]
fn a_half_closed_connection_goes_on_in_the_other_direction() {
    let sim = sim(1);
    sim.run(async {
        let (client, server) = connected(&sim.host("a"), &sim.host("b")).await;
        client.send(b"request".to_vec()).await.0.unwrap();
        client.finish_sending();
        client.send(vec![1]).await.0.unwrap_err();
        let mut request = Vec::new();
        loop {
            let chunk = server.recv().await.unwrap();
            if chunk.is_empty() {
                break;
            }
            request.extend_from_slice(&chunk);
        }
        assert_eq!(request, b"request");
        server.send(b"reply".to_vec()).await.0.unwrap();
        drop(server);
        let mut reply = Vec::new();
        while reply.len() < 5 {
            reply.extend_from_slice(&client.recv().await.unwrap());
        }
        assert_eq!(reply, b"reply");
        assert!(client.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_partition_holds_everything_back_and_loses_nothing() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        let (client, server) = connected(&a, &b).await;
        let (_listener, addr) = listening(&b);
        sim.partition("a", "b");
        client.send(vec![1; 100]).await.0.unwrap();
        let received = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&received);
        b.spawn("test", async move {
            while *counted.borrow() < 100 {
                let chunk = server.recv().await.unwrap();
                *counted.borrow_mut() += chunk.len();
            }
        });
        let unanswered = a.connect(addr).await.err().unwrap();
        assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        assert_eq!(*received.borrow(), 0);
        sim.heal_partition("a", "b");
        a.connect(addr).await.unwrap();
        sim.sleep(Duration::from_millis(5)).await;
        assert_eq!(*received.borrow(), 100);
    });
}

#[test]
fn a_partition_of_one_direction_leaves_the_other_open() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        let (client, server) = connected(&a, &b).await;
        let (_listener, addr) = listening(&b);
        sim.partition_one_way("a", "b");
        client.send(vec![1; 100]).await.0.unwrap();
        server.send(vec![2]).await.0.unwrap();
        assert_eq!(*client.recv().await.unwrap(), [2]);
        let received = Rc::new(Cell::new(0));
        let counted = Rc::clone(&received);
        b.spawn("test", async move {
            while counted.get() < 100 {
                counted.set(counted.get() + server.recv().await.unwrap().len());
            }
        });
        for (from, to) in [(&a, addr), (&b, SocketAddr::new(a.ip(), addr.port()))] {
            let unanswered = from.connect(to).await.err().unwrap();
            assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        }
        assert_eq!(received.get(), 0);
        sim.heal_partition("b", "a");
        sim.sleep(Duration::from_millis(5)).await;
        assert_eq!(received.get(), 100);
    });
}

#[test]
fn a_suspended_process_does_nothing_and_its_kernel_goes_on() {
    let sim = sim(1);
    sim.run(async {
        let (a, b) = (sim.host("a"), sim.host("b"));
        let (client, server) = connected(&a, &b).await;
        let (_listener, addr) = listening(&b);
        let echoed = Rc::new(Cell::new(0));
        let counted = Rc::clone(&echoed);
        let task_io = b.clone();
        b.spawn("test", async move {
            loop {
                let chunk = server.recv().await.unwrap();
                counted.set(counted.get() + chunk.len());
                task_io.sleep_until(task_io.now().mono_ns + 1).await;
            }
        });
        sim.suspend("b");
        client.send(vec![1; 100]).await.0.unwrap();
        a.connect(addr).await.unwrap();
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(echoed.get(), 0);
        sim.resume("b");
        sim.sleep(Duration::from_millis(5)).await;
        assert_eq!(echoed.get(), 100);
        // One that is killed while it is suspended leaves nothing behind.
        sim.suspend("b");
        sim.crash("b");
        let b = sim.host("b");
        let ran = Rc::new(Cell::new(false));
        let noted = Rc::clone(&ran);
        b.spawn("test", async move { noted.set(true) });
        sim.sleep(Duration::from_millis(1)).await;
        assert!(ran.get());
    });
}

#[test]
fn a_reset_meets_both_ends() {
    let sim = sim(1);
    sim.run(async {
        let (client, server) = connected(&sim.host("a"), &sim.host("b")).await;
        sim.reset_connections("b", "a");
        let ends = [client.recv().await, server.recv().await];
        for end in ends {
            assert_eq!(end.err().unwrap().kind(), ErrorKind::ConnectionReset);
        }
        client.send(vec![1]).await.0.unwrap_err();
    });
}

#[test]
fn a_killed_process_is_hung_up_and_a_dark_host_is_silent() {
    let sim = sim(1);
    sim.run(async {
        let a = sim.host("a");
        let (client, server) = connected(&a, &sim.host("b")).await;
        let addr = client.peer_addr();
        sim.crash("b");
        assert!(client.recv().await.unwrap().is_empty());
        let refused = a.connect(addr).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        drop(server);

        let (client, _server) = connected(&a, &sim.host("b")).await;
        sim.power_cut("b");
        let ends = Rc::new(RefCell::new(Vec::new()));
        let (reader, noted) = (client.clone(), Rc::clone(&ends));
        a.spawn("test", async move {
            let end = reader.recv().await.map(|chunk| chunk.len());
            noted.borrow_mut().push(end.map_err(|error| error.kind()));
        });
        client.send(vec![1]).await.0.unwrap();
        let unanswered = a.connect(addr).await.err().unwrap();
        assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        assert_eq!(*ends.borrow(), []);
        sim.host("b");
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(*ends.borrow(), [Err(ErrorKind::ConnectionReset)]);
    });
}

#[test]
fn a_failed_accept_is_of_this_accept_only() {
    let sim = sim(1);
    sim.run(async {
        let io = sim.host("a");
        let (listener, addr) = listening(&io);
        sim.fail_accepts("a", 2);
        let client = io.connect(addr).await.unwrap();
        for _ in 0..2 {
            let error = listener.accept().await.err().unwrap();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        let server = listener.accept().await.unwrap();
        server.send(vec![1]).await.0.unwrap();
        assert_eq!(*client.recv().await.unwrap(), [1]);
    });
}

#[test]
fn a_full_backlog_makes_clients_wait() {
    let config = SimConfig {
        net_backlog: 2,
        ..SimConfig::default()
    };
    let sim = Sim::new(1, config);
    sim.run(async {
        let io = sim.host("a");
        let (listener, addr) = listening(&io);
        let connections = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..3 {
            let (task_io, opened) = (io.clone(), Rc::clone(&connections));
            io.spawn("test", async move {
                let stream = task_io.connect(addr).await;
                opened.borrow_mut().push(stream);
            });
        }
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(connections.borrow().len(), 2);
        let accepted = listener.accept().await.unwrap();
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(connections.borrow().len(), 3);
        drop((accepted, listener));
        for stream in connections.take() {
            let ended = stream.unwrap().recv().await;
            assert!(ended.is_err() || ended.unwrap().is_empty());
        }
    });
}

#[test]
#[should_panic(expected = "two callers of recv")]
fn two_readers_of_one_stream_are_a_mistake() {
    let sim = sim(1);
    sim.run(async {
        let io = sim.host("a");
        let (client, _server) = connected(&io, &io).await;
        let clone = client.clone();
        io.spawn("test", async move { drop(clone.recv().await) });
        sim.sleep(Duration::from_millis(1)).await;
        let _ = client.recv().await;
    });
}

/// Both ends of a connection from one host to another.
pub(super) async fn connected(from: &SimIo, to: &SimIo) -> (SimStream, SimStream) {
    let (listener, addr) = listening(to);
    let client = from.connect(addr).await.unwrap();
    (client, listener.accept().await.unwrap())
}

fn listening(io: &SimIo) -> (SimListener, SocketAddr) {
    let addr = SocketAddr::new(io.ip(), 0);
    let listener = io.listen(addr).unwrap();
    let addr = listener.local_addr();
    (listener, addr)
}
