//! Random histories of transactions against a model of the two queues: sends, ends in time or late, rounds, op records,
//! saved offsets and crashes that take everything that is only in memory.

use super::super::answers::LATEST_MS;
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Send {
        is_immune: bool,
    },
    /// The producer ends one of its transactions, naming its own half message or any copy that it was asked about.
    End {
        which: usize,
        copy: usize,
    },
    Round,
    WriteOp,
    Sleep {
        ms: u64,
    },
    Save,
    Crash,
}

/// What one transaction has been through.
#[derive(Debug, Default)]
struct Transaction {
    /// Its half message and the copies of it, by queue offset.
    at: Vec<u64>,
    has_ended: bool,
    /// Since the last crash: a copy was written.
    has_new_copy: bool,
    /// Since the last crash: when it ended, and whether its end tells that a producer was asked.
    ended: Option<(u64, bool)>,
    /// Since the last round, which may make the broker forget one about which no producer was asked.
    has_just_ended: bool,
    asked: u32,
    given_up: u32,
}

struct Model {
    broker: Broker,
    /// The half queue: which transaction, and the record.
    halves: Vec<(usize, Vec<u8>)>,
    ops: Vec<String>,
    transactions: Vec<Transaction>,
    now_ms: u64,
    saved: (u64, u64),
    has_crashed: bool,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            broker: broker(),
            halves: Vec::new(),
            ops: Vec::new(),
            transactions: Vec::new(),
            now_ms: BORN_MS as u64,
            saved: (0, 0),
            has_crashed: false,
        };
        model.start();
        model
    }

    fn start(&mut self) {
        self.broker = broker();
        let bounds = |len: usize| QueueBounds {
            min: 0,
            max: len as u64,
            next: len as u64,
        };
        let (half, op) = (bounds(self.halves.len()), bounds(self.ops.len()));
        let saved = [(HALF, self.saved.0), (OP_HALF, self.saved.1)];
        for (topic, offset) in saved {
            let broker = &mut self.broker;
            broker.offsets.commit(GROUP, topic, 0, offset as i64, 0);
        }
        let Broker {
            transactions,
            offsets,
            ..
        } = &mut self.broker;
        let first = transactions.start(offsets, half, op);
        for offset in first..self.ops.len() as u64 {
            transactions.load_op(offset, self.ops[offset as usize].as_bytes());
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Send { is_immune } => self.send(*is_immune),
            Step::End { which, copy } => self.end(*which, *copy),
            Step::Round => self.round(),
            Step::WriteOp => {
                if let Some(body) = self.broker.op_body() {
                    self.broker.op_stored(self.ops.len() as u64);
                    self.ops.push(body);
                }
            }
            Step::Sleep { ms } => self.now_ms += ms,
            Step::Save => {
                self.broker.commit_transaction_offsets(self.now_ms);
                let saved = |topic| self.broker.offsets.query(GROUP, topic, 0).unwrap() as u64;
                self.saved = (saved(HALF), saved(OP_HALF));
            }
            Step::Crash => {
                self.has_crashed = true;
                self.forget();
                for transaction in &mut self.transactions {
                    transaction.ended = None;
                    transaction.has_new_copy = false;
                }
                self.start();
            }
        }
    }

    fn send(&mut self, is_immune: bool) {
        let mut properties = PROPERTIES.to_owned();
        if is_immune {
            properties::push(&mut properties, "CHECK_IMMUNITY_TIME_IN_SECONDS", "45");
        }
        let offset = self.halves.len() as u64;
        let record = half(&mut self.broker, &properties, offset, self.now_ms as i64);
        self.halves.push((self.transactions.len(), record));
        self.transactions.push(Transaction {
            at: vec![offset],
            ..Transaction::default()
        });
    }

    fn end(&mut self, which: usize, copy: usize) {
        if self.transactions.is_empty() {
            return;
        }
        let which = which % self.transactions.len();
        let transaction = &mut self.transactions[which];
        let copy = copy % transaction.at.len();
        let offset = transaction.at[copy];
        let record = decoded(&self.halves[offset as usize].1);
        let request = EndTransaction {
            half_queue_offset: offset as i64,
            half_physical_offset: physical(offset) as i64,
            from_transaction_check: copy > 0,
            ..request(TRANSACTION_ROLLBACK_TYPE)
        };
        match self.broker.admit_end(&request, Some(&record), self.now_ms) {
            Ok(Some(ending)) => {
                assert!(!transaction.has_just_ended, "{transaction:?} ends twice");
                if let Some((ended_ms, true)) = transaction.ended {
                    let is_late = self.now_ms > ended_ms + LATEST_MS;
                    assert!(is_late, "an answer to {transaction:?} ends it twice");
                }
                self.broker.transactions.end(ending.half, self.now_ms);
                let first = transaction.ended.is_none() && transaction.given_up == 0;
                let is_asked = copy > 0 || first && transaction.has_new_copy;
                transaction.ended = Some((self.now_ms, is_asked));
                transaction.has_ended = true;
                transaction.has_just_ended = true;
            }
            Ok(None) => assert!(transaction.has_ended, "{transaction:?} goes on"),
            Err(refusal) => assert_eq!(refusal.code, 604, "{refusal:?}"),
        }
    }

    fn round(&mut self) {
        let end = self.halves.len() as u64;
        'round: while let Some(open) = self.broker.transactions.next_open(0, end, 4) {
            for offset in open {
                if !self.look_at(offset) {
                    break 'round;
                }
            }
        }
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.broker.transactions.forget_some(from, self.now_ms);
        }
        self.forget();
    }

    /// What a round may forget.
    fn forget(&mut self) {
        for transaction in &mut self.transactions {
            transaction.has_just_ended = false;
        }
    }

    fn look_at(&mut self, offset: u64) -> bool {
        let (which, record) = self.halves[offset as usize].clone();
        let record = decoded(&record);
        let next = self.halves.len() as u64;
        let transaction = &mut self.transactions[which];
        // Only a crash makes the broker forget how one has ended.
        let is_needless = transaction.has_ended && !self.has_crashed;
        let (half, verdict) = self.broker.judge_half(offset, &record, self.now_ms);
        let copy = match verdict {
            Verdict::Young => return false,
            Verdict::Pass => {
                assert!(transaction.has_ended, "{transaction:?} is forgotten");
                self.broker.transactions.pass(half, self.now_ms);
                return true;
            }
            Verdict::GiveUp(_) => {
                assert!(!is_needless, "{transaction:?} is given up");
                transaction.given_up += 1;
                self.broker.transactions.pass(half, self.now_ms);
                return true;
            }
            Verdict::Postpone(copy) => copy,
            Verdict::Ask(copy, _) => {
                assert!(!is_needless, "{transaction:?} is asked about");
                transaction.asked += 1;
                copy
            }
        };
        let copy = stored(&copy, next);
        transaction.at.push(next);
        transaction.has_new_copy = true;
        self.halves.push((which, copy));
        self.broker.transactions.copy(half);
        true
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::bool::weighted(0.3).prop_map(|is_immune| Step::Send { is_immune }),
        5 => (any::<usize>(), any::<usize>()).prop_map(|(which, copy)| Step::End { which, copy }),
        3 => Just(Step::Round),
        2 => Just(Step::WriteOp),
        4 => (1..20_000_u64).prop_map(|ms| Step::Sleep { ms }),
        2 => Just(Step::Save),
    ]
}

fn step_or_crash() -> impl Strategy<Value = Step> {
    prop_oneof![20 => step(), 1 => Just(Step::Crash)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Without a crash no check is sent in vain, and a producer that does not answer gets 15.
    #[test]
    fn each_ends_or_is_asked_about_until_given_up(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut model = Model::new();
        steps.iter().for_each(|step| model.take(step));
        for _ in 0..20 {
            model.take(&Step::Sleep { ms: 60_000 });
            model.take(&Step::Round);
            model.take(&Step::WriteOp);
        }
        for transaction in &model.transactions {
            match transaction.has_ended {
                // One that ends after it was given up has ended twice.
                true => prop_assert!(transaction.given_up <= 1),
                false => prop_assert_eq!((transaction.asked, transaction.given_up), (15, 1)),
            }
        }
        let Transactions { position, ended, copies, answers, .. } = &model.broker.transactions;
        prop_assert_eq!(*position, model.halves.len() as u64);
        prop_assert_eq!((ended, copies), (&OffsetSet::default(), &Copies::default()));
        prop_assert_eq!(answers, &Answers::default());
        let (half, op) = model.broker.transactions.positions();
        prop_assert_eq!((half, op), (model.halves.len() as u64, model.ops.len() as u64));
    }

    /// Whatever a crash takes: one that has not ended is asked about or given up, never forgotten.
    #[test]
    fn a_crash_loses_none(steps in proptest::collection::vec(step_or_crash(), 0..160)) {
        let mut model = Model::new();
        steps.iter().for_each(|step| model.take(step));
        for _ in 0..20 {
            model.take(&Step::Sleep { ms: 60_000 });
            model.take(&Step::Round);
        }
        for transaction in &model.transactions {
            let is_kept = transaction.has_ended || transaction.given_up > 0;
            prop_assert!(is_kept, "{:?} is lost", transaction);
        }
        let Transactions { position, ended, copies, answers, .. } = &model.broker.transactions;
        prop_assert_eq!(*position, model.halves.len() as u64);
        prop_assert_eq!((ended, copies), (&OffsetSet::default(), &Copies::default()));
        prop_assert_eq!(answers, &Answers::default());
    }

    /// An end whose op record was written is known after a crash, if the half message had not been asked about.
    #[test]
    fn a_written_end_is_known_after_a_crash(
        ends in proptest::collection::vec(any::<bool>(), 1..60),
        saved_after in 0..60_usize,
    ) {
        let mut model = Model::new();
        for (which, is_ended) in ends.iter().enumerate() {
            model.take(&Step::Send { is_immune: false });
            if *is_ended {
                model.take(&Step::End { which, copy: 0 });
                model.take(&Step::WriteOp);
            }
            if which == saved_after {
                model.take(&Step::Round);
                model.take(&Step::Save);
            }
        }
        model.take(&Step::Crash);
        model.take(&Step::Sleep { ms: 60_000 });
        model.take(&Step::Round);
        for (transaction, is_ended) in model.transactions.iter().zip(&ends) {
            prop_assert_eq!(transaction.asked, u32::from(!is_ended), "{:?}", transaction);
        }
    }
}

/// A crash leaves a half message beside its copy, so that each is asked about: one answer ends both.
#[test]
fn an_end_counts_for_every_copy() {
    let mut model = Model::new();
    model.take(&Step::Send { is_immune: false });
    let another_round = [Step::Sleep { ms: 60_000 }, Step::Round];
    another_round.iter().for_each(|step| model.take(step));
    model.take(&Step::Crash);
    another_round.iter().for_each(|step| model.take(step));
    assert_eq!(model.transactions[0].at, [0, 1, 2, 3]);
    for copy in [2, 3, 0, 1] {
        model.take(&Step::End { which: 0, copy });
    }
    let asked = model.transactions[0].asked;
    for _ in 0..3 {
        another_round.iter().for_each(|step| model.take(step));
    }
    assert_eq!((asked, model.transactions[0].asked), (3, 3));
    assert_eq!(model.broker.transactions.copies, Copies::default());
}

/// The producer ends it while it is being asked; its answer comes rounds later.
#[test]
fn an_answer_does_not_end_it_again() {
    let mut model = Model::new();
    model.take(&Step::Send { is_immune: false });
    model.take(&Step::Sleep { ms: 6_500 });
    model.take(&Step::Round);
    model.take(&Step::End { which: 0, copy: 0 });
    for _ in 0..2 {
        model.take(&Step::Sleep { ms: LATEST_MS / 2 });
        model.take(&Step::Round);
    }
    model.take(&Step::End { which: 0, copy: 1 });
    assert_eq!(
        model.transactions[0].ended,
        Some((BORN_MS as u64 + 6_500, true))
    );
}

/// The producer ends it while it is being asked, and the broker dies before its copy is looked at again.
#[test]
fn a_written_end_counts_for_a_copy_after_a_crash() {
    let mut model = Model::new();
    model.take(&Step::Send { is_immune: false });
    model.take(&Step::Sleep { ms: 6_500 });
    model.take(&Step::Round);
    model.take(&Step::End { which: 0, copy: 0 });
    model.take(&Step::WriteOp);
    model.take(&Step::Crash);
    model.take(&Step::Sleep { ms: 60_000 });
    model.take(&Step::Round);
    assert_eq!(model.transactions[0].asked, 1);
}

/// Neither millions of ended ones nor a stray offset in an op record cost more than a few bytes each.
#[test]
fn ends_take_little_memory() {
    let mut transactions = Transactions {
        known_from: 2_000_000,
        ..Transactions::default()
    };
    for offset in (0..2_000_000).step_by(2) {
        let half = HalfOffset {
            offset,
            first: offset,
        };
        transactions.end(half, 0);
        transactions.batch = None;
    }
    transactions.load_op(0, b"18446744073709551615,x,,-1,3");
    assert!(transactions.ended.contains(3));
    assert!(!transactions.ended.contains(u64::MAX));
    assert!(transactions.ended.words() <= 2_000_000 / 64);
}

#[test]
fn ends_are_forgotten_in_slices() {
    const WORDS: u64 = 20_000;
    let mut transactions = Transactions {
        position: (WORDS - 1) * 64,
        ..Transactions::default()
    };
    (0..WORDS).for_each(|n| transactions.ended.insert(64 * n));
    transactions.copies.add(64);
    let (mut next, mut turns) = (Some(0), 0);
    while let Some(from) = next {
        let before = transactions.ended.words();
        next = transactions.forget_some(from, 0);
        turns += 1;
        assert!(before - transactions.ended.words() <= FORGOTTEN_PER_TURN);
    }
    assert_eq!(turns, WORDS as usize / FORGOTTEN_PER_TURN + 1);
    let left: Vec<_> = (0..WORDS)
        .filter(|n| transactions.ended.contains(64 * n))
        .collect();
    assert_eq!(
        left,
        [1, WORDS - 1],
        "of a copy, and what is behind the position"
    );
}
