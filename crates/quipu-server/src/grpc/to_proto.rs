//! What the engine says of its tasks, as messages.

use quipu_engine::{Damage, Rebuilt, Scavenged, Stats, Verified};
use quipu_wire::proto;

/// What a store holds.
pub fn stats(own: &Stats) -> proto::StatsResponse {
    proto::StatsResponse {
        event_count: own.event_count,
        stream_count: own.stream_count,
        last: own.last.get(),
        segment_count: own.segment_count,
        rewritten_count: own.rewritten_count,
        run_count: own.run_count,
        log_size: own.log_size,
        index_size: own.index_size,
        spare_size: own.spare_size,
        beside_size: own.beside_size,
        torn_size: own.torn_size,
    }
}

/// A damage.
pub fn damage(own: &Damage) -> proto::Damage {
    let (offset, reason) = (own.offset, own.reason.clone());
    proto::Damage { file: own.file.display().to_string(), offset, reason }
}

/// What verifying found.
pub fn verified(own: &Verified) -> proto::Verified {
    proto::Verified {
        event_count: own.event_count,
        segment_count: own.segment_count,
        run_count: own.run_count,
        damage_count: own.damage_count,
        torn_count: own.torn_count,
        torn_size: own.torn_size,
    }
}

/// What scavenging did.
pub fn scavenged(own: &Scavenged) -> proto::Scavenged {
    proto::Scavenged {
        segment_count: own.segment_count,
        event_count: own.event_count,
        freed_size: own.freed_size,
        left_count: own.left_count,
    }
}

/// What making the index anew did.
pub fn rebuilt(own: Rebuilt) -> proto::RebuiltIndex {
    proto::RebuiltIndex { event_count: own.event_count, run_count: own.run_count }
}
