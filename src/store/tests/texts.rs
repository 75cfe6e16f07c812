//! Protects config/*.json: whatever happens while one is written, the old text or the new one is there afterwards.

use super::*;

#[test]
fn a_text_is_old_or_new_after_any_end_of_its_writer() {
    for seed in 0..300 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, Flush::Sync).await;
            assert_eq!(store.load_text("t.json").await.unwrap(), None);
            let mut saved = 0;
            for round in 1..=3 {
                let store = match round {
                    1 => store.clone(),
                    _ => open(&sim, Flush::Sync).await,
                };
                store
                    .save_text("t.json", format!("text {round}0"))
                    .await
                    .unwrap();
                let (writer, io) = (store.clone(), sim.host("a"));
                crate::io::Spawn::spawn(&io, "test", async move {
                    let text = format!("text {round}1");
                    writer.save_text("t.json", text).await.unwrap();
                });
                sim.sleep(Duration::from_nanos(sim.below(4_000_000))).await;
                match sim.below(2) {
                    0 => sim.crash("a"),
                    _ => sim.power_cut("a"),
                }
                let store = open(&sim, Flush::Sync).await;
                let text = store
                    .load_text("t.json")
                    .await
                    .unwrap()
                    .expect("one of them");
                let number: u32 = text.strip_prefix("text ").unwrap().parse().unwrap();
                assert!([round * 10, round * 10 + 1].contains(&number), "{number}");
                assert!(number > saved);
                saved = number;
                store.close().await.unwrap();
            }
        });
    }
}

#[test]
fn the_backup_stands_in_for_an_empty_file_and_is_kept() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        store.save_text("t.json", "one".into()).await.unwrap();
        store.save_text("t.json", "two".into()).await.unwrap();
        assert_eq!(read_file(&sim, "/store/config/t.json.bak").await, b"one");
        let io = sim.host("a");
        let file = io.open(Path::new("/store/config/t.json"), EDIT).await;
        file.unwrap().resize(0).await.unwrap();
        assert_eq!(store.load_text("t.json").await.unwrap().unwrap(), "one");
        // The next save must not put the empty file into the backup's place.
        assert!(!exists(&sim, "/store/config/t.json").await);
    });
}

/// A device that lost the write may leave the name, the length, and zeros.
#[test]
fn the_backup_stands_in_for_a_file_of_zeros() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        store.save_text("t.json", "one".into()).await.unwrap();
        store.save_text("t.json", "two".into()).await.unwrap();
        write_file(&sim, "/store/config/t.json", 0, &[0; 3]).await;
        assert_eq!(store.load_text("t.json").await.unwrap().unwrap(), "one");
    });
}

/// A power cut may leave zeros, or what stood there before, behind the last line of a file that grows. The lines before it count.
#[test]
fn a_file_that_grows_is_read_with_whatever_is_at_its_end() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        assert_eq!(store.load_grown("changes-0.log").await.unwrap(), None);
        for end in [&b"\0\0\0"[..], b"\xff\xfe"] {
            let bytes = [b"one\n", end].concat();
            write_file(&sim, "/store/config/changes-0.log", 0, &bytes).await;
            let read = store.load_grown("changes-0.log").await.unwrap().unwrap();
            assert!(read.starts_with(&bytes), "{read:?}");
        }
    });
}

/// The name of a writer that comes later wins, and they do not write into each other's file.
#[test]
fn two_writers_of_one_text_take_turns() {
    for seed in 0..30 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, Flush::Sync).await;
            for n in 0..5 {
                let (writer, io) = (store.clone(), sim.host("a"));
                crate::io::Spawn::spawn(&io, "test", async move {
                    let text = n.to_string().repeat(1000 - n * 100);
                    writer.save_text("t.json", text).await.unwrap();
                });
            }
            sim.sleep(Duration::from_secs(1)).await;
            let text = store.load_text("t.json").await.unwrap().unwrap();
            let n: usize = text[..1].parse().unwrap();
            assert_eq!(text, n.to_string().repeat(1000 - n * 100));
        });
    }
}

/// A byte that has rotted makes another name of a name: the text of before is used, and without one the error is told.
#[test]
fn a_text_with_a_rotten_byte_is_none() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        store.save_text("t.json", "one".into()).await.unwrap();
        write_file(&sim, "/store/config/t.json", 1, &[0xFF]).await;
        let error = store.load_text("t.json").await.unwrap_err().to_string();
        assert!(error.contains("from byte 1 on"), "{error}");
        store.save_text("t.json", "two".into()).await.unwrap();
        store.save_text("t.json", "three".into()).await.unwrap();
        write_file(&sim, "/store/config/t.json", 1, &[0xFF]).await;
        assert_eq!(store.load_text("t.json").await.unwrap().unwrap(), "two");
    });
}
