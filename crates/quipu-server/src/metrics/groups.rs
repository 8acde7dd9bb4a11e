//! What is measured of the consumer groups that run here.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use quipu_groups::group::GroupInfo;

use super::signed;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    group: String,
}

/// How the groups are that run here. A group that ends here is not measured any more.
#[derive(Debug, Default)]
pub(super) struct OfGroups {
    lag: Family<Name, Gauge>,
    in_flight: Family<Name, Gauge>,
    parked: Family<Name, Gauge>,
}

impl OfGroups {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "consumer_group_lag",
            "Places between what a group has settled and the end of what it reads",
            self.lag.clone(),
        );
        to.register(
            "consumer_group_in_flight",
            "Events of a group that are with members",
            self.in_flight.clone(),
        );
        to.register("consumer_group_parked", "Events that a group parked", self.parked.clone());
    }

    pub(super) fn set(&self, groups: &[(String, GroupInfo)]) {
        self.lag.clear();
        self.in_flight.clear();
        self.parked.clear();
        for (group, info) in groups {
            let name = Name { group: group.clone() };
            self.lag.get_or_create(&name).set(signed(info.lag));
            let in_flight = info.counts.in_flight as u64;
            self.in_flight.get_or_create(&name).set(signed(in_flight));
            self.parked.get_or_create(&name).set(signed(info.counts.parked as u64));
        }
    }
}
