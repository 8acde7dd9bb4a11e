//! What a read asks for, checked.

use quipu_core::{Direction, Position, Revision, StreamName};

use crate::convert::{IdForm, stream_name};
use crate::failure::{Failure, INVALID_POSITION};
use crate::proto::event_store::client::streams as wire;
use crate::proto::event_store::client::{FilterOptions, StreamOptions, stream_options};
use wire::read_req::options::{
    AllOptions, CountOption, FilterOption, ReadDirection, StreamOption, all_options,
};

use super::filter::Filter;

/// A read or a subscription.
pub(super) struct ReadRequest {
    pub(super) from: From,
    pub(super) direction: Direction,
    pub(super) count: Count,
    pub(super) links: bool,
    pub(super) form: IdForm,
    /// Whether the client knows what to do with a stream's first and last places.
    pub(super) wants_places: bool,
}

/// What is read, and from where.
pub(super) enum From {
    Stream { stream: StreamName, place: Place<Revision> },
    All { place: Place<Position>, filter: Option<Filter> },
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<P> {
    Start,
    At(P),
    End,
}

/// How much is wanted.
#[derive(Clone, Copy)]
pub(super) enum Count {
    AtMost(u64),
    Subscription,
}

impl ReadRequest {
    pub(super) fn from_proto(request: wire::ReadReq) -> Result<Self, Failure> {
        let options =
            request.options.ok_or_else(|| Failure::invalid("the request has no options"))?;
        let direction = match options.read_direction() {
            ReadDirection::Forwards => Direction::Forward,
            ReadDirection::Backwards => Direction::Backward,
        };
        let form = IdForm::from_proto(options.uuid_option.as_ref())?;
        let count = match options.count_option {
            Some(CountOption::Count(count)) => Count::AtMost(count),
            Some(CountOption::Subscription(_)) => Count::Subscription,
            None => return Err(Failure::invalid("the request has no count_option")),
        };
        let filter = match options.filter_option {
            Some(FilterOption::Filter(filter)) => Some(filter),
            Some(FilterOption::NoFilter(())) => None,
            None => return Err(Failure::invalid("the request has no filter_option")),
        };
        if matches!(count, Count::Subscription) && direction == Direction::Backward {
            return Err(combination("a subscription reads forwards"));
        }
        let from = match options.stream_option {
            Some(StreamOption::Stream(_)) if filter.is_some() => {
                return Err(combination("only $all has a filter"));
            }
            Some(StreamOption::Stream(stream)) => of_stream(&stream)?,
            Some(StreamOption::All(all)) => of_all(all, filter)?,
            None => return Err(Failure::invalid("the request has no stream_option")),
        };
        let compatibility = options.control_option.map_or(0, |option| option.compatibility);
        Ok(Self {
            from,
            direction,
            count,
            links: options.resolve_links,
            form,
            wants_places: compatibility >= 1,
        })
    }
}

fn combination(reason: &str) -> Failure {
    Failure::invalid(format!(
        "The combination of (stream_option, count_option, read_direction, filter_option) is \
         invalid: {reason}."
    ))
}

fn of_stream(options: &StreamOptions) -> Result<From, Failure> {
    use stream_options::RevisionOption;
    let stream = stream_name(options.stream_identifier.as_ref())?;
    let place = match options.revision_option {
        Some(RevisionOption::Revision(revision)) => Place::At(Revision::new(revision)),
        Some(RevisionOption::Start(())) => Place::Start,
        Some(RevisionOption::End(())) => Place::End,
        None => return Err(Failure::invalid("the request has no revision_option")),
    };
    Ok(From::Stream { stream, place })
}

fn of_all(options: AllOptions, filter: Option<FilterOptions>) -> Result<From, Failure> {
    use all_options::AllOption;
    let place = match options.all_option {
        Some(AllOption::Position(place)) => {
            let (commit, prepare) = (place.commit_position, place.prepare_position);
            match (commit, prepare) {
                (0, 0) => Place::Start,
                (u64::MAX, u64::MAX) => Place::End,
                _ if commit < prepare => return Err(Failure::invalid(INVALID_POSITION)),
                _ => Place::At(Position::new(commit)),
            }
        }
        Some(AllOption::Start(())) => Place::Start,
        Some(AllOption::End(())) => Place::End,
        None => return Err(Failure::invalid("the request has no all_option")),
    };
    let filter = filter.map(|filter| Filter::from_proto(&filter)).transpose()?;
    Ok(From::All { place, filter })
}
