//! Ways to break the protocol on purpose. The simulator switches them on to show that it finds
//! each; without the cargo feature `breakage` (which only tests have) none of them can be reached.
//! What each does is in [`Protections`](super::Protections).

/// One breakage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// The checkpoint passes rows that are not flushed.
    CheckpointAheadOfFlush,
    /// The fence has no write id of its own: it is the position alone.
    FenceWithoutWriteId,
    /// A row is written if its fence is lower, not if it is the one last seen; and a second write
    /// starts before the first answered.
    FenceLowerAndTwoInFlight,
    /// Opening a new head leaves the old head's fence alone.
    OpenedHeadLeavesOldFence,
    /// The very first row is written without the account item.
    FirstRowWithoutAccountItem,
    /// Older rows are read before the head.
    OlderRowsBeforeHead,
    /// Older rows are taken as read, without a match to the head.
    OlderRowsUnmatched,
    /// An award is applied without its pointer's change in the same transaction.
    PointerOutlivesAward,
    /// However many awards wait for an account, they are written in one transaction.
    AwardsInOneTransaction,
    /// The duplicate window begins inside the chunk.
    WindowEndsInsideChunk,
    /// The slow lane begins at the window's start, without the five minutes that event time may be
    /// ahead.
    SlowLaneWithoutFiveMinutes,
    /// Only the slow lane looks for duplicates, not the window.
    SlowLaneInPlaceOfWindow,
    /// The usage row's key lacks the identity.
    UsageRowKeyWithoutIdentity,
    /// A rater does not compare its checkpoint with what posting has accepted.
    AcceptedBlocksIgnored,
    /// Partition counts are not compared with those of the epoch.
    PartitionCountsIgnored,
    /// A source partition of a new epoch goes by its own log time alone, although users came to it
    /// from others.
    MovedUsersForgotten,
    /// After a change of the number of posting partitions top-K lists begin empty.
    ListsNotRebuilt,
    /// Every append time is taken as true.
    ClocksTrusted,
    /// Nobody looks whether a table is still the installation's.
    TablesUnmarked,
    /// A posting partition does not look whether the rows that it wrote last are still there.
    WitnessesIgnored,
    /// The head of the control feed is read before the records of the chunk are.
    ControlHeadBeforeRecords,
    /// `recover` takes the newest chunk in the log as complete.
    IncompleteChunkTakenAsComplete,
    /// `recover` leaves posting where it is, although account tables may be older than that.
    PostingNotPutBack,
    /// `recover` leaves prices and links as they are, although their tables may be of another
    /// moment than the control feed.
    FeedRowsNotMended,
    /// Nobody looks whether a later epoch has begun.
    LaterEpochIgnored,
    /// A source partition begins an epoch although it went on in the one before.
    SealIgnored,
    /// An epoch reads topics that were not lost from their beginning, and takes blocks of the epoch
    /// before as its own.
    EarlierBlocksTaken,
    /// After a correction of the clock only what was appended in the hour after it counts as
    /// forgotten, however late the events were dated.
    LatestEventForgotten,
    /// The same where the version before did not note the latest event.
    LatestEventUnknown,
    /// The same in the epoch after the correction.
    LatestEventNotMoved,
    /// What the window has forgotten is as late as the last record that it forgot, even if it had
    /// forgotten later ones before.
    ForgottenFallsBack,
    /// An account is set aside in memory alone: the checkpoint passes its postings before the
    /// record is durable.
    SetAsideInMemoryOnly,
    /// An account that is released goes on where its partition is, without what it missed.
    ReleaseWithoutCatchUp,
    /// Nobody looks whether rows that were mended are as new as those that were set aside.
    OlderRowsReleased,
    /// After a restart the duplicate window holds what is valid for the services of now, not for
    /// those that rated it.
    WindowRatedWithNewServices,
    /// A contradiction with an item counts at once, although the item may be half of a transaction.
    ContradictionsUnconfirmed,
    /// The rows of an account are taken as they are read although another worker has applied an
    /// award to them, of whose transaction the read may show nothing yet.
    AppliedAwardsUnchecked,
    /// A reversal takes back what the rules and links of now would give, not what was posted.
    ReversedByRulesOfNow,
    /// The row of what a reversal takes back is read as an eventually consistent read may show it:
    /// without what was just written.
    OriginalsReadEventually,
    /// A completion is decided anew when its chunk is rated again: it finds the row that it has
    /// written itself, and takes it for another one's.
    CompletionDecidedAnew,
    /// What an event earns is rounded up, not down.
    AmountsRoundedUp,
    /// The first posting block of a chunk that has two or more is not sent.
    BlockNotSent,
    /// A chunk now and then begins with the records of the chunk before it.
    RecordsCutAnew,
    /// A chunk now and then leaves out its first record.
    RecordsPassedOver,
    /// A chunk now and then takes the number of the chunk before it.
    ChunkNumberUsedAgain,
    /// The log time before a chunk is not that at the end of the chunk before it.
    LogTimeMisstated,
    /// Every second chunk is rated with an entry of the control feed less.
    ControlGoesBack,
    /// The duplicate window counts as forgotten what it holds.
    WindowForgetsEarly,
    /// A cut does not note with which services it is rated.
    ServicesNotNoted,
    /// A sequence is left out before a chunk now and then.
    SequencesPassedOver,
    /// The latest event before a chunk is not that of the chunks before it.
    LatestEventMisstated,
    /// The record of a chunk misstates the log time at its end.
    EndLogTimeMisstated,
    /// The record of a chunk misstates the latest event at its end.
    EndLatestEventMisstated,
    /// The record of a chunk misstates the last block that was sent.
    EndSequencesMisstated,
    /// Badges are granted by whoever writes an account's rows, not also when they are touched
    /// again.
    BadgesOfOwnWritesOnly,
    /// A heartbeat is due when the source has sent nobody a block for long, not when it has sent
    /// none to one of the posting partitions.
    HeartbeatsBySource,
    /// All awards that wait are taken at once, and written after the last of them.
    AwardsInOneBatch,
    /// A milestone check counts as done although the link that it is about is not visible yet.
    InvisibleLinkTaken,
    /// Without usage rows the duplicate window is cut short by its number of records.
    UncheckedWindowCutShort,
    /// A row that is older than its poster has seen it is taken as restored together with the
    /// checkpoint.
    RegressedRowsTaken,
}

impl Breakage {
    /// All of them.
    pub const ALL: [Breakage; 60] = [
        Breakage::CheckpointAheadOfFlush,
        Breakage::FenceWithoutWriteId,
        Breakage::FenceLowerAndTwoInFlight,
        Breakage::OpenedHeadLeavesOldFence,
        Breakage::FirstRowWithoutAccountItem,
        Breakage::OlderRowsBeforeHead,
        Breakage::OlderRowsUnmatched,
        Breakage::PointerOutlivesAward,
        Breakage::AwardsInOneTransaction,
        Breakage::WindowEndsInsideChunk,
        Breakage::SlowLaneWithoutFiveMinutes,
        Breakage::SlowLaneInPlaceOfWindow,
        Breakage::UsageRowKeyWithoutIdentity,
        Breakage::AcceptedBlocksIgnored,
        Breakage::PartitionCountsIgnored,
        Breakage::MovedUsersForgotten,
        Breakage::ListsNotRebuilt,
        Breakage::ClocksTrusted,
        Breakage::TablesUnmarked,
        Breakage::WitnessesIgnored,
        Breakage::ControlHeadBeforeRecords,
        Breakage::IncompleteChunkTakenAsComplete,
        Breakage::PostingNotPutBack,
        Breakage::FeedRowsNotMended,
        Breakage::LaterEpochIgnored,
        Breakage::SealIgnored,
        Breakage::EarlierBlocksTaken,
        Breakage::LatestEventForgotten,
        Breakage::LatestEventUnknown,
        Breakage::LatestEventNotMoved,
        Breakage::ForgottenFallsBack,
        Breakage::SetAsideInMemoryOnly,
        Breakage::ReleaseWithoutCatchUp,
        Breakage::OlderRowsReleased,
        Breakage::WindowRatedWithNewServices,
        Breakage::ContradictionsUnconfirmed,
        Breakage::AppliedAwardsUnchecked,
        Breakage::ReversedByRulesOfNow,
        Breakage::OriginalsReadEventually,
        Breakage::CompletionDecidedAnew,
        Breakage::AmountsRoundedUp,
        Breakage::BlockNotSent,
        Breakage::RecordsCutAnew,
        Breakage::RecordsPassedOver,
        Breakage::ChunkNumberUsedAgain,
        Breakage::LogTimeMisstated,
        Breakage::ControlGoesBack,
        Breakage::WindowForgetsEarly,
        Breakage::ServicesNotNoted,
        Breakage::SequencesPassedOver,
        Breakage::LatestEventMisstated,
        Breakage::EndLogTimeMisstated,
        Breakage::EndLatestEventMisstated,
        Breakage::EndSequencesMisstated,
        Breakage::BadgesOfOwnWritesOnly,
        Breakage::HeartbeatsBySource,
        Breakage::AwardsInOneBatch,
        Breakage::InvisibleLinkTaken,
        Breakage::UncheckedWindowCutShort,
        Breakage::RegressedRowsTaken,
    ];
}
