//! Protects that an error of the disk ends the acknowledgements and nothing else: what was acknowledged is there and can
//! be read, nothing is written again in the hope that it then holds.

use super::*;

async fn assert_fenced(sim: &Sim, store: &SimStore, acknowledged: usize) {
    assert!(store.fence().is_some());
    let committed = store.committed();
    let refused = store.append(store.queue("A", 0), &message(b"x", ""), None, 0);
    assert!(matches!(refused, Err(AppendError::Fenced { .. })));
    store.wait_for_room(100).await;
    assert!(store.committed_beyond(committed).await.is_err());
    assert_eq!(bodies(store, "A").await.len(), acknowledged);
    sim.sleep(Duration::from_secs(20)).await;
    assert_eq!(store.committed(), committed);
    assert!(store.close().await.is_err());
}

fn ends_acknowledgements(flush: Flush, rule: impl Fn() -> Rule) {
    for seed in 0..5 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, flush).await;
            send(&sim, &store, "A", b"safe").await;
            sim.sleep(Duration::from_millis(100)).await;
            sim.host("a").inject(rule());
            let mut acknowledged = 1;
            for _ in 0..200 {
                if store.fence().is_some() {
                    break;
                }
                append(&sim, &store, "A", &[1; 1000]).await;
                acknowledged += usize::from(store.committed_so_far().await.is_ok());
                sim.sleep(Duration::from_millis(15)).await;
            }
            assert_fenced(&sim, &store, acknowledged).await;
            sim.host("a").heal();
            sim.power_cut("a");
            let store = open(&sim, flush).await;
            let left = bodies(&store, "A").await;
            match flush {
                Flush::Sync => assert!(left.len() >= acknowledged),
                Flush::Async => assert_eq!(left[0], b"safe"),
            }
        });
    }
}

#[test]
fn a_write_error_fences() {
    for flush in [Flush::Sync, Flush::Async] {
        let rule = || Rule::new(Fault::Io).of(Op::Write).on(LOG).after(2).times(1);
        ends_acknowledgements(flush, rule);
    }
}

#[test]
fn a_sync_error_fences() {
    for flush in [Flush::Sync, Flush::Async] {
        let rule = || Rule::new(Fault::Io).of(Op::Sync).on(LOG).after(2).times(1);
        ends_acknowledgements(flush, rule);
    }
}

#[test]
fn errors_of_the_queue_files_leave_the_log_alone() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let rule = Rule::new(Fault::Io).of(Op::Write).on("consumequeue");
        sim.host("a").inject(rule);
        for n in 0..20 {
            send(sim, &store, "A", &[n; 500]).await;
            sim.sleep(Duration::from_secs(1)).await;
        }
        assert!(store.close().await.is_err());
        sim.host("a").heal();
        sim.power_cut("a");
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), 20);
    });
}

#[test]
fn a_record_that_rotted_is_an_error_of_its_reader() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let sent = send(&sim, &store, "A", &[1; 6000]).await;
        send(&sim, &store, "A", b"good").await;
        store.close().await.unwrap();
        let store = open(&sim, Flush::Sync).await;
        let rotten = sent.physical_offset + 600;
        sim.host("a").rot_sector(Path::new(LOG), rotten).unwrap();
        let queue = store.find_queue("A", 0).unwrap();
        let found = positions(&store, queue, 0, 2).await;
        assert!(store.read_cold(&found[..1], Vec::new()).await.is_err());
        assert!(store.read_cold(&found[1..], Vec::new()).await.is_ok());
        let absurd = Position {
            physical_offset: 0,
            size: u32::MAX,
        };
        assert!(store.read_cold(&[absurd], Vec::new()).await.is_err());
    });
}
