//! What disks keep and lose.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use proptest::prelude::*;

use super::super::*;
use super::{MS, sim};
use crate::io::{Disk, Durability, File, OpenOptions, Spawn};
use crate::mem::{AlignedBuf, BLOCK_BYTES, LogBuffer};

const DIRECT: OpenOptions = OpenOptions {
    write: true,
    create: true,
    direct: true,
};

#[test]
fn a_killed_process_leaves_what_it_wrote_and_any_part_of_what_it_was_writing() {
    let mut parts = BTreeSet::new();
    for seed in 0..100 {
        let sim = sim(seed);
        sim.run(async {
            let io = sim.host("a");
            let file = file_of(&io).await;
            write(&file, 0, 1, Durability::Written).await;
            io.spawn("test", async move {
                write(&file, 1, 2, Durability::Synced).await
            });
            sim.sleep(Duration::from_nanos(sim.below(2 * MS))).await;
            sim.crash("a");
            let bytes = read(&file_of(&sim.host("a")).await).await;
            assert!(bytes[..BLOCK_BYTES].iter().all(|&b| b == 1));
            let second = bytes[BLOCK_BYTES..].chunks(SECTOR_BYTES);
            parts.insert(second.map(|sector| sector[0] == 2).collect::<Vec<_>>());
        });
    }
    assert!(parts.len() > 10, "{parts:?}");
    assert!(parts.contains(&vec![]), "not begun");
    assert!(parts.contains(&vec![true; 8]), "done");
}

#[test]
fn a_power_cut_does_take_what_it_may() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let sim = sim(seed);
        sim.run(async {
            let io = sim.host("a");
            let file = file_of(&io).await;
            write(&file, 0, 1, Durability::Synced).await;
            write(&file, 1, 2, Durability::Written).await;
            sim.power_cut("a");
            let file = file_of(&sim.host("a")).await;
            let firsts: Vec<u8> = read(&file)
                .await
                .chunks(BLOCK_BYTES)
                .map(|b| b[0])
                .collect();
            seen.insert(firsts);
        });
    }
    let all: [&[u8]; 4] = [&[], &[1], &[1, 0], &[1, 2]];
    assert_eq!(
        seen,
        all.map(<[u8]>::to_vec).into(),
        "the name, the length, the bytes"
    );
}

#[test]
fn what_a_log_slice_holds_may_change_until_the_write_is_done() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let sim = sim(seed);
        sim.run(async {
            let io = sim.host("a");
            let mut log = LogBuffer::new(BLOCK_BYTES).unwrap();
            log.write(0, BLOCK_BYTES).fill(1);
            let (slice, task_io) = (log.slice(0, BLOCK_BYTES), io.clone());
            io.spawn("test", async move {
                let file = file_of(&task_io).await;
                file.write_at(slice, 0, Durability::Written)
                    .await
                    .0
                    .unwrap();
            });
            sim.sleep(Duration::from_micros(sim.below(400))).await;
            log.write(2048, 2048).fill(2);
            sim.sleep(Duration::from_millis(5)).await;
            let bytes = read(&file_of(&io).await).await;
            assert_eq!(bytes[..2048], [1; 2048], "sealed bytes stay");
            seen.extend(bytes);
        });
    }
    assert_eq!(seen, [1, 2].into());
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8, bool),
    Sync,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..8, any::<bool>()).prop_map(|(block, synced)| Step::Write(block, synced)),
        2 => Just(Step::Sync),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    /// Against a model that knows for each block which values it may hold.
    #[test]
    fn a_power_cut_takes_only_what_the_contract_lets_it(seed: u64, steps in steps()) {
        let sim = sim(seed);
        sim.run(async {
            let mut may_hold: BTreeMap<u8, BTreeSet<u8>> = (0..8).map(|b| (b, [0].into())).collect();
            let mut file = file_of(&sim.host("a")).await;
            file.allocate(8 * BLOCK_BYTES as u64).await.unwrap();
            file.sync_data().await.unwrap();
            sim.host("a").sync_dir(Path::new("/")).await.unwrap();
            // Of the blocks that were written since the last power cut.
            let mut latest = BTreeMap::new();
            for (value, step) in (1..).zip(steps) {
                match step {
                    Step::Write(at, synced) => {
                        let durability = if synced { Durability::Synced } else { Durability::Written };
                        write(&file, at.into(), value, durability).await;
                        let held = may_hold.get_mut(&at).unwrap();
                        if synced {
                            held.clear();
                        }
                        held.insert(value);
                        latest.insert(at, value);
                    }
                    Step::Sync => {
                        file.sync_data().await.unwrap();
                        for (at, value) in std::mem::take(&mut latest) {
                            may_hold.insert(at, [value].into());
                        }
                    }
                    Step::PowerCut => {
                        sim.power_cut("a");
                        latest.clear();
                        file = file_of(&sim.host("a")).await;
                        let bytes = read(&file).await;
                        prop_assert_eq!(bytes.len(), 8 * BLOCK_BYTES);
                        for (at, held) in &mut may_hold {
                            let start = usize::from(*at) * BLOCK_BYTES;
                            let block = &bytes[start..start + BLOCK_BYTES];
                            prop_assert!(block.iter().all(|byte| held.contains(byte)));
                            // From here on the block is what it is, sector by sector.
                            *held = block.iter().copied().collect();
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}

/// Whichever process made it, also one that was killed meanwhile.
#[test]
fn a_directory_that_was_made_with_those_above_it_stays() {
    let deep = Path::new("/a/b/c/d");
    for seed in 0..200 {
        let sim = sim(seed);
        sim.run(async {
            let io = sim.host("a");
            let task_io = io.clone();
            io.spawn("test", async move {
                let _ = task_io.create_dir_all(Path::new("/a/b/c/d/e")).await;
            });
            sim.sleep(Duration::from_nanos(sim.below(10 * MS))).await;
            sim.crash("a");
            sim.host("a").create_dir_all(deep).await.unwrap();
            sim.power_cut("a");
            let above = sim.host("a").list(deep.parent().unwrap()).await.unwrap();
            assert_eq!(above.len(), 1, "seed {seed}");
        });
    }
}

#[test]
fn a_short_write_leaves_a_beginning() {
    let mut written = BTreeSet::new();
    for seed in 0..50 {
        let sim = sim(seed);
        sim.run(async {
            let io = sim.host("a");
            let file = file_of(&io).await;
            io.inject(Rule::new(Fault::Short).of(Op::Write));
            let (short, _) = file.write_at(block(1), 0, Durability::Synced).await;
            assert_eq!(short.unwrap_err().kind(), ErrorKind::WriteZero);
            let bytes = read(&file).await;
            assert!(bytes.iter().all(|&byte| byte == 1));
            written.insert(bytes.len());
        });
    }
    assert!(written.len() > 3, "{written:?}");
}

#[test]
fn what_is_lost_is_counted() {
    let sim = sim(1);
    sim.run(async {
        let io = sim.host("a");
        let file = file_of(&io).await;
        write(&file, 0, 1, Durability::Synced).await;
        io.sync_dir(Path::new("/")).await.unwrap();
        for at in 0..20 {
            write(&file, at, 2, Durability::Written).await;
        }
        io.inject(Rule::new(Fault::Io).of(Op::Read).one_in(3));
        for _ in 0..100 {
            let _ = file.read_at(block(0), BLOCK_BYTES, 0).await;
        }
        sim.power_cut("a");
    });
    let tally = sim.tally();
    assert!(tally.operations["writes"] >= 21, "{tally}");
    assert!((15..60).contains(&tally.faults["EIO on reads"]), "{tally}");
    assert!(tally.faults["sectors lost"] > 0, "{tally}");
    assert!(tally.faults["sectors torn"] > 0, "{tally}");
    assert_eq!(tally.faults["power cuts"], 1);
}

#[test]
fn faults_strike_as_ruled() {
    let sim = sim(3);
    sim.run(async {
        let io = sim.host("a");
        let file = file_of(&io).await;
        io.inject(
            Rule::new(Fault::Io)
                .of(Op::Write)
                .on("/f")
                .after(1)
                .times(1),
        );
        write(&file, 0, 1, Durability::Written).await;
        let (failed, buf) = file.write_at(block(2), 0, Durability::Written).await;
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(buf[0], 2, "the buffer comes back all the same");
        write(&file, 0, 3, Durability::Written).await;

        io.inject(Rule::new(Fault::NoSpace).of(Op::Length));
        let full = file.allocate(1 << 20).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        io.heal();
        file.allocate(1 << 20).await.unwrap();

        let before_ns = sim.mono_ns();
        io.inject(Rule::new(Fault::Stall(Duration::from_secs(7))).of(Op::Sync));
        file.sync_data().await.unwrap();
        assert!(sim.mono_ns() - before_ns >= 7_000 * MS);

        io.rot_sector(Path::new("/f"), 600).unwrap();
        let bytes = read(&file).await;
        let rotten: Vec<usize> = (0..BLOCK_BYTES).filter(|&i| bytes[i] != 3).collect();
        assert_eq!(rotten.len(), 1);
        assert!((512..1024).contains(&rotten[0]));
    });
}

#[test]
fn a_disk_fills_up() {
    let config = SimConfig {
        disk_bytes: 10 * BLOCK_BYTES as u64,
        ..SimConfig::default()
    };
    let sim = Sim::new(1, config);
    sim.run(async {
        let io = sim.host("a");
        let file = file_of(&io).await;
        file.allocate(9 * BLOCK_BYTES as u64).await.unwrap();
        let space = io.space(Path::new("/")).await.unwrap();
        assert_eq!(space.available_bytes, BLOCK_BYTES as u64);
        write(&file, 9, 1, Durability::Written).await;
        let (full, _) = file
            .write_at(block(1), 10 * BLOCK_BYTES as u64, Durability::Written)
            .await;
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
        write(&file, 0, 1, Durability::Written).await;
    });
}

pub(super) fn block(value: u8) -> AlignedBuf {
    let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
    block.fill(value);
    block
}

pub(super) async fn file_of(io: &SimIo) -> SimFile {
    io.open(Path::new("/f"), DIRECT).await.unwrap()
}

pub(super) async fn read(file: &SimFile) -> Vec<u8> {
    let len = file.len_bytes().await.unwrap() as usize;
    let len = len.next_multiple_of(BLOCK_BYTES);
    let (read, buf) = file.read_at(AlignedBuf::zeroed(len), len, 0).await;
    buf[..read.unwrap()].to_vec()
}

pub(super) async fn write(file: &SimFile, at_block: u64, value: u8, durability: Durability) {
    let offset = at_block * BLOCK_BYTES as u64;
    file.write_at(block(value), offset, durability)
        .await
        .0
        .unwrap();
}
