//! Protects how records lie in segments, and that the zeros written ahead never meet them.

use super::*;
use crate::store::log::segments::Segments;

#[test]
fn a_segment_ends_in_a_blank_record() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let mut last = send(sim, &store, "A", &[1; 7000]).await;
        loop {
            let next = send(sim, &store, "A", &[1; 7000]).await;
            if next.physical_offset == SEGMENT {
                break;
            }
            last = next;
        }
        let log = read_file(sim, LOG).await;
        let blank = crate::message::blank_record((SEGMENT - last.end) as u32);
        assert_eq!(log[last.end as usize..][..8], blank);
        assert_eq!(store.record_at(last.end).await.unwrap(), None);
        // In memory, on disk, and not there.
        for (offset, len, is_there) in [
            (SEGMENT, last.len, true),
            (last.physical_offset, last.len, true),
            (0, last.len, true),
            (1, last.len, false),
            (0, last.len - 1, false),
            (SEGMENT, 1 << 30, false),
        ] {
            let position = Position::new(offset, len as u32);
            let alone = store.record_alone(&position).await.unwrap();
            assert_eq!(alone.is_some(), is_there, "{position:?}");
            if is_there {
                assert_eq!(alone, store.record_at(offset).await.unwrap());
            }
        }
    });
}

#[test]
fn a_batch_stands_in_one_segment_or_is_refused() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let queue = store.queue("A", 0);
        let body = [1; 2000];
        for count in 1..29 {
            let batch = vec![message(&body, ""); count];
            store.wait_for_room(60_000).await;
            let appended = store.append_batch(queue, &batch, 0).unwrap();
            assert_eq!(appended.len(), count);
            let (first, last) = (appended[0], appended[count - 1]);
            assert_eq!(first.physical_offset / SEGMENT, (last.end + 7) / SEGMENT);
        }
        store.committed_so_far().await.unwrap();
        let tail = store.tail();
        let batch = vec![message(&body, ""); 40];
        let refused = store.append_batch(queue, &batch, 0);
        assert!(matches!(refused, Err(AppendError::RecordSize { .. })));
        let body = [1; 9000];
        let refused = store.append_batch(queue, &[message(b"", ""), message(&body, "")], 0);
        assert!(matches!(refused, Err(AppendError::BodySize { .. })));
        assert_eq!(
            (store.tail(), store.bounds(queue).next),
            (tail, 28 * 29 / 2)
        );
    });
}

/// Its properties leave no room for the CRC. It is read from the disk, and by a start after a crash.
#[test]
fn a_message_with_the_longest_properties_is_kept() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let queue = store.queue("A", 0);
        let mut appended = Vec::new();
        for own in [32_747, 32_748, 32_768, 32_769] {
            let long = format!("K\u{1}{}\u{2}", "v".repeat(own - 3));
            store.wait_for_room(34_000).await;
            appended.push(store.append(queue, &message(b"long", &long), None, 1));
        }
        let refused = appended.pop().unwrap();
        assert!(matches!(refused, Err(AppendError::PropertiesSize { .. })));
        assert!(appended.iter().all(Result::is_ok), "{appended:?}");
        store.committed_so_far().await.unwrap();
        for _ in 0..2 {
            sim.crash("a");
            let store = open(sim, flush).await;
            assert_eq!(bodies(&store, "A").await, [b"long"; 3]);
            assert_eq!(store.figures().unreadable, 0);
        }
    });
}

#[test]
fn what_does_not_fit_is_refused_not_taken() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let queue = store.queue("A", 0);
        let long = format!("K\u{1}{}", "v".repeat(33_000));
        let refused = store.append(queue, &message(b"", &long), None, 0);
        assert!(matches!(refused, Err(AppendError::PropertiesSize { .. })));
        let mut appended = 0;
        let full = loop {
            match store.append(queue, &message(&[0; 5000], ""), None, 0) {
                Ok(_) => appended += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full, AppendError::NoRoom);
        assert!(appended > 5);
        store.wait_for_room(5200).await;
        store
            .append(queue, &message(&[0; 5000], ""), None, 0)
            .unwrap();
        store.committed_so_far().await.unwrap();
        assert_eq!(store.bounds(queue).max, appended + 1);
        store.close().await.unwrap();
        let refused = store.append(queue, &message(b"", ""), None, 0);
        assert_eq!(refused, Err(AppendError::Closing));
    });
}

/// The zeros of the second segment take long, and the log arrives there meanwhile.
#[test]
fn zeros_ahead_never_meet_the_log() {
    for millis in [1, 20, 300] {
        each(async |sim, flush| {
            let stall = Fault::Stall(Duration::from_millis(millis));
            let rule = Rule::new(stall)
                .of(Op::Write)
                .on("commitlog/00000000000000")
                .after(1);
            let store = open(sim, flush).await;
            sim.host("a").inject(rule);
            for n in 0..80 {
                append(sim, &store, "A", &[n; 3500]).await;
            }
            store.committed_so_far().await.unwrap();
            sim.host("a").heal();
            sim.crash("a");
            let store = open(sim, flush).await;
            let expected: Vec<_> = (0..80).map(|n| vec![n; 3500]).collect();
            assert_eq!(bodies(&store, "A").await, expected);
        });
    }
}

/// The wall clock may be set back; the log's times do not go back, across restarts either.
#[test]
fn store_times_never_go_back() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let first = send(sim, &store, "A", b"1").await;
        sim.step_unix_clock("a", -1_000_000);
        let second = send(sim, &store, "A", b"2").await;
        store.close().await.unwrap();
        let store = open(sim, flush).await;
        let third = send(sim, &store, "A", b"3").await;
        assert!(first.store_timestamp_ms <= second.store_timestamp_ms);
        assert_eq!(second.store_timestamp_ms, third.store_timestamp_ms);
        sim.crash("a");
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), 3);
        assert_eq!(
            store.figures().first_store_time_ms,
            Some(first.store_timestamp_ms)
        );
    });
}

/// A slave that catches up has more than one file in its buffer, and zeros are written ahead of what is written.
#[test]
fn no_file_is_made_ahead_of_the_one_before_it() {
    let (sim, segment) = (sim(1), 1 << 17);
    sim.run(async {
        let medium = Medium::new(sim.host("a"));
        let opened = Segments::open(medium, "/log".into(), segment, false);
        let segments = opened.await.unwrap();
        for (position, starts) in [
            (2 * segment + 5, vec![2]),
            (5 * segment, vec![2, 3, 4, 5]),
            (3 * segment, vec![2, 3, 4, 5]),
        ] {
            segments.file_or_create(position).await.unwrap();
            let starts: Vec<u64> = starts.iter().map(|nth| nth * segment).collect();
            assert_eq!(segments.starts(), starts);
        }
    });
}
