//! Bugs that tests switch on, to prove that the tests would notice them.

/// A bug that tests put into the engine on purpose. No real disk has one.
///
/// Each stands for a mistake that stores have been shipped with. A simulation that stays green with
/// one of them on is a simulation that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SeededBug {
    /// An append is answered before its batch is synced.
    SkipSyncBeforeAnswer,
    /// A directory is not synced after a name in it has changed. Lives in the simulated disk.
    SkipDirectorySync,
    /// Readers see a batch as soon as it is written, before it is synced.
    ExposeBeforeDurable,
    /// A sync that failed is taken for one that succeeded.
    IgnoreSyncError,
    /// A sync that failed is called again, and its second answer believed.
    RetrySync,
    /// A write that failed is taken for one that succeeded.
    IgnoreWriteError,
    /// Damage to acknowledged events is cut off as if it were a torn tail.
    TruncateCorruption,
    /// The checksum of a batch is not compared when the store opens: a torn batch is taken for a
    /// whole one.
    SkipBatchChecksum,
    /// The last batch is not written and synced again when the store opens, although what the
    /// system shows of it may never have reached the disk.
    SkipRewriteOnOpen,
    /// The bytes of a torn batch are left where they are when the store opens, and the next batch
    /// is written over them with the same sequence number.
    ReuseTornSequence,
    /// Conditions are checked without the events staged before them in the same batch.
    SkipConditionOverlay,
    /// Expected revisions are not checked.
    SkipRevisionCheck,
    /// A retried append is appended again.
    SkipReplayCheck,
    /// The last event of a segment is left out when the next segment begins.
    LoseLastOfSegment,
    /// A segment is used before its name and its zeros are durable.
    SegmentBeforeSynced,
    /// The manifest names a run before the run is synced.
    IndexBeforeRunSynced,
    /// A segment's last events are left out of its run.
    IndexMissesLastEvents,
    /// Segments that were merged or scavenged are removed before the manifest that forgets them is
    /// durable.
    RemoveBeforeManifest,
    /// Both copies of the manifest are written without a sync in between.
    OverwriteBothManifests,
    /// The watermark file is advanced before the batch is synced.
    WatermarkBeforeSync,
    /// The durable floor says more than is durable.
    FloorBeforeSync,
    /// A full disk closes the store for good instead of letting writers wait.
    PoisonOnDiskFull,
}

impl SeededBug {
    /// Every bug, in the order of the list above.
    pub const ALL: [Self; 22] = [
        Self::SkipSyncBeforeAnswer,
        Self::SkipDirectorySync,
        Self::ExposeBeforeDurable,
        Self::IgnoreSyncError,
        Self::RetrySync,
        Self::IgnoreWriteError,
        Self::TruncateCorruption,
        Self::SkipBatchChecksum,
        Self::SkipRewriteOnOpen,
        Self::ReuseTornSequence,
        Self::SkipConditionOverlay,
        Self::SkipRevisionCheck,
        Self::SkipReplayCheck,
        Self::LoseLastOfSegment,
        Self::SegmentBeforeSynced,
        Self::IndexBeforeRunSynced,
        Self::IndexMissesLastEvents,
        Self::RemoveBeforeManifest,
        Self::OverwriteBothManifests,
        Self::WatermarkBeforeSync,
        Self::FloorBeforeSync,
        Self::PoisonOnDiskFull,
    ];
}
