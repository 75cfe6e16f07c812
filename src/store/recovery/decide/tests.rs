//! Every combination of what a start may find, and the rows of the table one by one.

use super::*;
use crate::store::log::ack_watermark::Note;

const SEGMENT: u64 = 1 << 30;
const NOW_MS: i64 = 1_800_000_000_000;
const MAX_UNFLUSHED: u64 = 256 << 20;

const OURS: Checkpoint = Checkpoint {
    position: 3 * SEGMENT,
    store_time_ms: NOW_MS - 10,
    queues_digest: 0,
    index: None,
    durable_to: 3 * SEGMENT + 10,
    ours_from: Some(7),
};

fn each_evidence(mut take: impl FnMut(Evidence)) {
    let checkpoints = [
        Found::Ours(OURS),
        Found::Times {
            store_time_ms: NOW_MS - 10,
        },
        Found::Times {
            store_time_ms: NOW_MS + 10,
        },
        Found::None {
            durable_to: 0,
            ours_from: None,
        },
        Found::None {
            durable_to: 3 * SEGMENT + 10,
            ours_from: Some(7),
        },
    ];
    let notes = [
        None,
        Some(Note::of(3 * SEGMENT + 20, true)),
        Some(Note::of(3 * SEGMENT + 20, false)),
    ];
    let logs = [
        None,
        Some((0, 2 * SEGMENT)),
        Some((SEGMENT, 4 * SEGMENT)),
        Some((4 * SEGMENT, 5 * SEGMENT)),
    ];
    for last_shutdown in [
        LastShutdown::Clean,
        LastShutdown::Unclean,
        LastShutdown::UncleanByRocketMq,
    ] {
        for checkpoint in checkpoints {
            for note in notes {
                for log in logs {
                    for (bits, resume) in
                        (0..8).flat_map(|bits| RESUMES.map(|resume| (bits, resume)))
                    {
                        take(Evidence {
                            last_shutdown,
                            checkpoint,
                            note,
                            log,
                            has_entries: bits & 1 > 0,
                            skip_damaged: bits & 2 > 0,
                            has_batch_queues: bits & 4 > 0,
                            follows: false,
                            resume,
                            max_unflushed_bytes: MAX_UNFLUSHED,
                            segment_bytes: SEGMENT,
                            now_ms: NOW_MS,
                        });
                    }
                }
            }
        }
    }
}

/// Ahead of the checkpoint, at it, between it and what is durable, and behind all.
const RESUMES: [Resume; 6] = [
    Resume::AsIs,
    Resume::CutAt(2 * SEGMENT + 7),
    Resume::CutAt(3 * SEGMENT),
    Resume::CutAt(3 * SEGMENT + 3),
    Resume::CutAt(9 * SEGMENT),
    Resume::BeginAt(8 * SEGMENT),
];

const ORIGINS: [Origin; 3] = [Origin::Usual, Origin::Foreign, Origin::Rebuilding];

#[test]
fn whatever_is_found_a_start_is_decided() {
    let mut seen = 0;
    each_evidence(|evidence| {
        seen += 1;
        let plan = decide(&evidence);
        let is_last_resort = |source: &Source| *source == Source::Log;
        assert!(plan.sources.last().is_some_and(is_last_resort));
        assert_eq!(plan.sources.iter().filter(|s| is_last_resort(s)).count(), 1);
        // Our journal and our digest of the files count with our checkpoint alone, and if that stays.
        let counts = match evidence.checkpoint {
            Found::Ours(checkpoint) => plan.cut.is_none_or(|cut| checkpoint.position <= cut),
            _ => false,
        };
        assert_eq!(plan.sources.contains(&Source::Journal), counts);
        assert!(plan.cut.is_none_or(|cut| plan.durable_to <= cut));
        assert!(plan.cut.is_none() || plan.begin.is_none());

        let reaches = evidence.log.is_some_and(|(min, end)| {
            plan.durable_to == 0 || min <= plan.durable_to && plan.durable_to <= end
        });
        match plan.log {
            LogFiles::Complete => {
                assert!(reaches || plan.durable_to == 0 && !evidence.has_entries);
            }
            LogFiles::Missing => assert!(!reaches && !evidence.skip_damaged),
            LogFiles::Replaced { from, to } => {
                assert!(!reaches && evidence.skip_damaged);
                assert!(from.is_multiple_of(SEGMENT) && to.is_multiple_of(SEGMENT));
                assert!(to <= plan.durable_to && plan.durable_to < to + SEGMENT);
            }
        }

        // What was proved durable by anything is the end of nothing.
        let noted = match evidence.is_ours() {
            true => evidence.note.map_or(0, |note| note.safe),
            false => 0,
        };
        let proved = noted.max(evidence.checkpoint.durable_to());
        let kept = plan.cut.map_or(proved, |cut| cut.min(proved));
        assert_eq!(plan.durable_to, kept);
        assert!(plan.unflushed_bytes <= evidence.max_unflushed_bytes);
        // RocketMQ may have written all of a log that it has had.
        assert!(evidence.is_ours() || plan.ours_from.is_none());

        for origin in ORIGINS.map(|origin| plan.origin(origin)) {
            let tail = plan.durable_to + 5;
            match plan.end(origin, tail) {
                end @ (End::Kept | End::Closed) => {
                    assert!(evidence.last_shutdown == LastShutdown::Clean && plan.cut.is_none());
                    assert_eq!(end == End::Closed, evidence.is_ours());
                }
                // Also what was written behind the marks, and the last writes that were not flushed.
                End::Cut { from } => {
                    assert!(plan.cut.is_some());
                    assert!(from >= tail.max(proved) + MAX_UNFLUSHED);
                }
                End::Wiped { up_to } => {
                    assert!(evidence.last_shutdown != LastShutdown::Clean);
                    // In any mode: more than one write may have been on its way.
                    assert!(up_to >= tail.saturating_add(MAX_UNFLUSHED));
                    let is_bounded = up_to < u64::MAX;
                    assert!(!is_bounded || evidence.last_shutdown == LastShutdown::Unclean);
                }
            }
        }
    });
    assert_eq!(seen, 3 * 5 * 3 * 4 * 8 * 6);
}

fn found(last_shutdown: LastShutdown, checkpoint: Found) -> Evidence {
    Evidence {
        last_shutdown,
        checkpoint,
        note: None,
        log: Some((0, 4 * SEGMENT)),
        has_entries: false,
        has_batch_queues: false,
        skip_damaged: false,
        follows: false,
        resume: Resume::AsIs,
        max_unflushed_bytes: MAX_UNFLUSHED,
        segment_bytes: SEGMENT,
        now_ms: NOW_MS,
    }
}

#[test]
fn the_queues_come_from_the_nearest_source_that_may_be_right() {
    let ours = [Source::Journal, Source::QueueFiles(OURS), Source::Log];
    let past = Found::Times {
        store_time_ms: NOW_MS,
    };
    let future = Found::Times {
        store_time_ms: NOW_MS + 1,
    };
    let up_to = Source::RocketMqFilesUpTo {
        time_ms: NOW_MS - TIME_SLACK_MS,
    };
    let none = Found::None {
        durable_to: 5,
        ours_from: None,
    };
    for (last_shutdown, checkpoint, sources) in [
        (LastShutdown::Clean, Found::Ours(OURS), &ours[..]),
        (LastShutdown::Unclean, Found::Ours(OURS), &ours),
        (LastShutdown::UncleanByRocketMq, Found::Ours(OURS), &ours),
        (
            LastShutdown::Clean,
            past,
            &[Source::RocketMqFiles, Source::Log],
        ),
        (
            LastShutdown::Clean,
            future,
            &[Source::RocketMqFiles, Source::Log],
        ),
        (LastShutdown::Unclean, past, &[up_to, Source::Log]),
        (LastShutdown::UncleanByRocketMq, past, &[up_to, Source::Log]),
        (LastShutdown::UncleanByRocketMq, future, &[Source::Log]),
        (LastShutdown::Clean, none, &[Source::Log]),
        (LastShutdown::Unclean, none, &[Source::Log]),
    ] {
        assert_eq!(decide(&found(last_shutdown, checkpoint)).sources, sources);
    }
    // RocketMQ has queues in other files, too.
    let with_batches = Evidence {
        has_batch_queues: true,
        ..found(LastShutdown::Clean, past)
    };
    assert_eq!(decide(&with_batches).sources, [Source::Log]);
}

#[test]
fn a_cut_takes_the_queues_from_what_stays_of_them() {
    let past = Found::Times {
        store_time_ms: NOW_MS,
    };
    let cut = 3 * SEGMENT - 1;
    for (checkpoint, resume, sources) in [
        (
            Found::Ours(OURS),
            Resume::CutAt(3 * SEGMENT),
            &[Source::Journal, Source::QueueFiles(OURS), Source::Log][..],
        ),
        (
            Found::Ours(OURS),
            Resume::CutAt(cut),
            &[Source::CutQueueFiles(OURS), Source::Log],
        ),
        (past, Resume::CutAt(cut), &[Source::Log]),
    ] {
        let evidence = Evidence {
            resume,
            ..found(LastShutdown::Clean, checkpoint)
        };
        assert_eq!(decide(&evidence).sources, sources);
    }
}

#[test]
fn the_note_counts_for_a_log_that_nobody_else_has_had() {
    let noted = |last_shutdown, checkpoint, is_sync| {
        let note = Some(Note::of(3 * SEGMENT + 20, is_sync));
        let plan = decide(&Evidence {
            note,
            ..found(last_shutdown, checkpoint)
        });
        (plan.durable_to - 3 * SEGMENT, plan.unflushed_bytes)
    };
    let ours = Found::Ours(OURS);
    assert_eq!(
        noted(LastShutdown::Unclean, ours, true),
        (20, MAX_WRITE_BYTES)
    );
    assert_eq!(
        noted(LastShutdown::Unclean, ours, false),
        (20, MAX_UNFLUSHED)
    );
    assert_eq!(
        noted(LastShutdown::UncleanByRocketMq, ours, true),
        (10, MAX_UNFLUSHED)
    );
}

#[test]
fn a_log_is_ours_from_where_the_checkpoint_says_unless_rocketmq_has_had_it_since() {
    let revoked = Found::None {
        durable_to: 5,
        ours_from: Some(7),
    };
    let theirs = Found::Times {
        store_time_ms: NOW_MS,
    };
    for (last_shutdown, checkpoint, ours_from) in [
        (LastShutdown::Clean, Found::Ours(OURS), Some(7)),
        (LastShutdown::Unclean, Found::Ours(OURS), Some(7)),
        (LastShutdown::Unclean, revoked, Some(7)),
        (LastShutdown::UncleanByRocketMq, Found::Ours(OURS), None),
        (LastShutdown::UncleanByRocketMq, revoked, None),
        (LastShutdown::Clean, theirs, None),
        (LastShutdown::Unclean, theirs, None),
    ] {
        assert_eq!(
            decide(&found(last_shutdown, checkpoint)).ours_from,
            ours_from
        );
    }
}
