//! Streams, version 2: appends to many streams at once.
//!
//! Its failures carry their details as messages. The most specific detail comes last, since some
//! clients look at the last one only.

mod failure;
mod record;

use std::collections::HashSet;

use quipu_core::{Append, AppendError, Appended, ExpectedRevision, Revision, StreamName};
use tonic::{Request, Response, Status, Streaming};

use crate::caller::{Caller, caller_of};
use crate::proto::kurrentdb::protocol::v2::streams as wire;
use failure::{Failure, Violated, Wrong};
use record::Batch;
use wire::streams_service_server::StreamsService;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(crate) struct Handler;

#[tonic::async_trait]
impl StreamsService for Handler {
    async fn append_session(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<wire::AppendSessionResponse>, Status> {
        let caller = caller_of(&request)?;
        let answer = append_session(&*caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn append_records(
        &self,
        request: Request<wire::AppendRecordsRequest>,
    ) -> Result<Response<wire::AppendRecordsResponse>, Status> {
        let caller = caller_of(&request)?;
        let answer = append_records(&*caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

/// One atomic append: a part a stream, each with what is expected of it.
async fn append_session(
    caller: &dyn Caller,
    mut requests: Streaming<wire::AppendRequest>,
) -> Result<wire::AppendSessionResponse, Status> {
    let mut batch = Batch::default();
    let mut streams: Vec<StreamName> = Vec::new();
    // Streams that differ in case only are taken for one, as KurrentDB does.
    let mut folded = HashSet::new();
    while let Some(request) = requests.message().await? {
        let stream = record::stream_name(&request.stream, "stream")?;
        if !folded.insert(stream.as_str().to_lowercase()) {
            return Err(Failure::TwiceInSession { stream: stream.to_string() }.into());
        }
        if request.records.is_empty() {
            return Err(Failure::bad("records", "there has to be at least one record").into());
        }
        let expected = record::expected(request.expected_revision)?;
        for record in request.records {
            batch.push(stream.clone(), record)?;
        }
        batch.append = batch.append.expect(stream.clone(), expected);
        streams.push(stream);
    }
    if streams.is_empty() {
        return Err(Failure::NoRequests.into());
    }
    let append = batch.append;
    let appended = match caller.reserved().append(append.clone()).await {
        Ok(appended) => appended,
        Err(AppendError::Conflict { violations }) => {
            return Err(Failure::of_session(&violations, &append).into());
        }
        Err(error) => return Err(Failure::of_append(caller, &error, &append).into()),
    };
    let output = streams.iter().map(|stream| wire::AppendResponse {
        stream: stream.to_string(),
        stream_revision: revision_in(&appended, stream),
        position: None,
    });
    Ok(wire::AppendSessionResponse { output: output.collect(), position: place_of(&appended) })
}

/// One atomic append of records in any order of streams, with checks of any streams.
async fn append_records(
    caller: &dyn Caller,
    request: wire::AppendRecordsRequest,
) -> Result<wire::AppendRecordsResponse, Status> {
    if request.records.is_empty() {
        return Err(Failure::bad("records", "there has to be at least one record").into());
    }
    let mut batch = Batch::default();
    for record in request.records {
        let stream = record::stream_name(record.stream.as_deref().unwrap_or_default(), "stream")?;
        batch.push(stream, record)?;
    }
    let mut checked: Vec<(StreamName, ExpectedRevision)> = Vec::new();
    for check in request.checks {
        let (stream, expected) = record::check(check)?;
        if checked.iter().any(|(own, _)| *own == stream) {
            let reason = format!("the stream '{stream}' is checked twice");
            return Err(Failure::bad("checks", &reason).into());
        }
        checked.push((stream, expected));
    }
    let mut append = batch.append;
    append.expectations.clone_from(&checked);
    let appended = match caller.reserved().append(append.clone()).await {
        Ok(appended) => appended,
        Err(AppendError::Conflict { violations }) => {
            let violated = Violated::of(&violations, &checked);
            return Err(Failure::Violations { violations: violated }.into());
        }
        Err(error) => return Err(Failure::of_append(caller, &error, &append).into()),
    };
    let revisions = appended.streams.iter().map(|own| wire::StreamRevision {
        stream: own.stream.to_string(),
        revision: number(own.revision),
    });
    Ok(wire::AppendRecordsResponse {
        revisions: revisions.collect(),
        position: place_of(&appended),
    })
}

fn revision_in(appended: &Appended, stream: &StreamName) -> i64 {
    let own = appended.streams.iter().find(|own| own.stream == *stream);
    own.map_or(-1, |own| number(own.revision))
}

fn number(revision: Revision) -> i64 {
    i64::try_from(revision.get()).unwrap_or(i64::MAX)
}

fn place_of(appended: &Appended) -> i64 {
    appended.last.map_or(-1, |last| i64::try_from(last.get()).unwrap_or(i64::MAX))
}

/// The first event of an append with what a violation is about, for its error.
fn expected_of(append: &Append, stream: &StreamName) -> Wrong {
    Wrong { stream: stream.to_string(), expected: append.expectation(stream) }
}
