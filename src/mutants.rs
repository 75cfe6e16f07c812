//! Bugs that can be put back one at a time, to show that the simulator's judge finds them (`--features mutants`, see
//! `tests/sim/mutants.rs`). What random histories find too rarely, a test of the library finds (`mutant_*`, see `fails`). Without the
//! feature, and outside of the library's tests, `mutant!` is `false`, and nothing of this is compiled.

/// Whether this thread runs with this bug.
#[cfg(any(test, feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        crate::mutants::is(crate::mutants::Mutant::$name)
    };
}

#[cfg(not(any(test, feature = "mutants")))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

#[cfg(any(test, feature = "mutants"))]
pub use chosen::{Mutant, choose, is};

/// Runs a test with this bug: it has to fail. That it passes without the bug is what the test itself shows.
#[cfg(test)]
pub(crate) fn fails(mutant: Mutant, test: fn()) {
    choose(Some(mutant));
    let ended = std::panic::catch_unwind(test);
    choose(None);
    assert!(ended.is_err(), "not caught: {mutant:?}, {}", mutant.fault());
}

#[cfg(any(test, feature = "mutants"))]
mod chosen {
    use std::cell::Cell;

    macro_rules! mutants {
        ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mutant {
                $($(#[doc = $doc])+ $name,)*
            }

            impl Mutant {
                pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

                /// What is wrong.
                pub fn fault(self) -> &'static str {
                    match self {
                        $(Mutant::$name => concat!($($doc),+).trim_ascii(),)*
                    }
                }
            }
        };
    }

    mutants! {
        /// Sends are acknowledged before their flush.
        AckBeforeFlush,
        /// Consumers see messages that are not written yet.
        ShowBeforeWrite,
        /// A failed write of the log is taken for a good one.
        SwallowWriteError,
        /// A failed flush of the log is taken for a good one.
        SwallowFlushError,
        /// In async mode the log is never flushed.
        NeverFlush,
        /// The CRC of the whole record, in its last property, is not checked.
        SkipRecordCrc,
        /// A recovery gives a batch one offset of its queue.
        BatchRestoredAsOne,
        /// A recovery takes a record without its CRCs.
        SkipTailCrc,
        /// In a recovery a record need not say the position at which it stands.
        SkipPosition,
        /// What a recovery has cut off the log stays there, and is read by a later one.
        TailNotWiped,
        /// A start does not note that the end of a replica's log is in doubt.
        EndNotDoubted,
        /// What a recovery found is shown before it is flushed.
        RecoveredNotFlushed,
        /// The log buffer gives out what has been overwritten.
        StaleLogBuffer,
        /// After a restart the log buffer gives out what it has not read.
        BlankLogBuffer,
        /// A block of the journal is written before the log up to it is flushed.
        JournalAheadOfLog,
        /// Journal and checkpoint refer to queue files that are not flushed.
        JournalAheadOfQueueFiles,
        /// After a crash the key index goes on at the log's end.
        IndexNotContinued,
        /// The files of config/ are overwritten.
        TextsInPlace,
        /// Offsets are saved before the messages that they refer to.
        OffsetsAheadOfLog,
        /// Waiting timers are forgotten by a restart.
        TimersLost,
        /// A half message goes to its topic.
        HalfVisible,
        /// Delayed messages come 200 ms early.
        DelayedEarly,
        /// A restart forgets what popped messages were acknowledged.
        PopAcksLost,
        /// Messages are kept half as long as they should be.
        RetentionTooEarly,
        /// The files of a deleted topic's queues stay.
        DeletedTopicReturns,
        /// A store is opened although the writes of a killed process have not ended.
        LockNotAwaited,
        /// A queue that is locked is given to another client.
        TwoLockOwners,
        /// A failed flush of a file beside the log sets no fence.
        OnlyLogFences,
        /// A lack of descriptors or memory sets the fence.
        ShortageFences,
        /// Queue files that are removed stay open.
        RemovedStayOpen,
        /// A start fails at a torn sector that cannot be read.
        UnreadableEndRefused,
        /// A record that was read from disk need not say the position at which it stands.
        ColdPositionUnchecked,
        /// A write of the log waits for an operation on names.
        CommitWaitsForNames,
        /// On a full disk no file is removed before its time.
        FullDiskNotFreed,
        /// A queue entry on disk is not derived again from the log when it does not fit.
        RottenEntryBelieved,
        /// Files of waiting timers are believed without their checksums.
        RottenTimersBelieved,
        /// After the clock was set back a timed message that was delivered can be recalled.
        RecallsByClock,
        /// What was cut off the log stays on the device behind its end.
        CutNotWiped,
        /// A slave does not cut what its master does not have.
        CutMissing,
        /// An epoch of what was cut off stays.
        EpochKeptBehindCut,
        /// Offsets stay behind the end of a queue that was cut.
        OffsetsNotClamped,
        /// After the clock was set back a restart forgets what had been delivered by the later time.
        SetBackRepeats,
        /// A master commits what its replicas do not have.
        ReplicasNotAwaited,
        /// A master commits what its replicas have and its own device has not.
        OwnWriteNotAwaited,
        /// A slave reports what it has received and not written.
        ReportBeforeWrite,
        /// A slave reports what it has written and not flushed.
        ReportBeforeFlush,
        /// A slave shows what its master has not confirmed.
        ConfirmNotAwaited,
        /// An elected broker cuts off what its former master had not confirmed to it.
        WinnerCutsUnconfirmed,
        /// What was delivered of delayed messages is passed over where it is to be repaired.
        DeliveredNotAwaited,
        /// What was delivered is passed over where the head of its record has rotted.
        RottenHeadPassed,
        /// A slave does not repair what it cannot read of its log.
        HolesStay,
        /// Until its repair has begun a broker passes over what it cannot read of its log.
        StartPassesOver,
        /// A master that was elected alone passes over what it cannot read of its log.
        OthersForgotten,
        /// A master looks in its memory for the record that its device could not give a slave.
        MemoryBelieved,
        /// Nothing is looked for where somebody asks for a record and none begins.
        NotDoubted,
        /// A slave that was started again shows what its master has not confirmed.
        UnconfirmedShown,
        /// A slave writes a record without a CRC although its checkpoint says that there are none.
        ForeignNotStated,
        /// What was flushed last is taken to end where the record begins of which the log's end has half.
        HalfNotMeasured,
        /// What a replica had before its connection was lost goes on counting.
        LostReplicaCounts,
        /// Two connections of one replica count twice.
        ReplicaCountsTwice,
        /// A learner counts.
        LearnerCounts,
        /// A member that is to leave the SyncStateSet is not waited for although the controller has not answered yet.
        SetShrinksAtOnce,
        /// One that joins the SyncStateSet is not waited for with what the others have already and the master has not written.
        JoinerNotAwaited,
        /// A master that was alone in its SyncStateSet does not wait for a broker that joins.
        AloneForever,
        /// A master that hears no controller asks for a smaller SyncStateSet.
        SmallerSetUnheard,
        /// Of two logs that differ by 2 GiB and more the shorter one may win an election.
        ElectionBy32Bits,
        /// A damaged member is elected although the only whole one is silent and may come back.
        SilentWholePassed,
    }

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// From now on this thread runs with this bug, or with none.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.set(mutant);
    }

    pub fn is(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }
}
