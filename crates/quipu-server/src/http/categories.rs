//! What the log consists of: its categories, and how much is in each.

use axum::extract::{Extension, Request};
use axum::response::Response;
use quipu_core::{
    Direction, EventStore, ListStreams, ReadError, ReadIndex, StreamName, Term, category,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::request::Params;
use super::to_json;
use crate::security::Access;

const COUNT_DEFAULT: u64 = 100;
const COUNT_MAX: u64 = 1_000;

/// What the log consists of.
#[derive(Serialize, ToSchema)]
#[schema(as = Categories)]
pub(super) struct CategoriesOut {
    /// Nothing can later appear at or below this position.
    frontier: u64,
    /// How many streams ever had an event, reserved ones included.
    stream_count: u64,
    /// Categories in the order of the bytes of their streams' names, without reserved ones.
    categories: Vec<CategoryOut>,
    /// The next page, if there is one.
    next: Option<String>,
}

/// The streams whose names have the same part before the first hyphen.
#[derive(Serialize, ToSchema)]
#[schema(as = Category)]
struct CategoryOut {
    /// That part.
    name: String,
    /// How many events its streams ever had.
    event_count: u64,
}

/// Lists the categories of streams, each with the number of its events.
///
/// Takes one look into the index for each category, however many events there are.
#[utoipa::path(
    get, path = "/categories", tag = "streams", operation_id = "list_categories",
    params(
        ("after" = Option<String>, Query, description = "Only streams after this name."),
        ("limit" = Option<u64>, Query,
            description = "The most categories: 100 unless asked for, at most 1,000."),
    ),
    responses((status = 200, description = "The categories.", body = CategoriesOut)),
)]
pub(super) async fn list(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["after", "limit"])?;
    let count_max = params.limit(COUNT_DEFAULT, COUNT_MAX)? as usize;
    let after =
        params.parse("after", |text| StreamName::new(text).map_err(|error| error.to_string()))?;
    let store = access.store();
    let (names, next) = find(&*store, after, count_max).await?;
    let mut categories = Vec::with_capacity(names.len());
    for name in names {
        let event_count = count(&*store, Term::Category(name.clone())).await?;
        categories.push(CategoryOut { name, event_count });
    }
    Ok(to_json::json(&CategoriesOut {
        frontier: store.frontier().await?.get(),
        stream_count: count(&*store, Term::StreamNames).await?,
        categories,
        next: next.map(|name| params.link("/categories", "after", name.as_str())),
    }))
}

async fn count(store: &dyn EventStore, term: Term) -> Result<u64, ReadError> {
    let read = ReadIndex { term, from: None, direction: Direction::Forward, limit: 1 };
    Ok(store.read_index(read).await?.count)
}

/// Finds categories by leaping over the streams of each; with the place to go on after.
async fn find(
    store: &dyn EventStore,
    mut after: Option<StreamName>,
    count_max: usize,
) -> Result<(Vec<String>, Option<StreamName>), ReadError> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let list = ListStreams { after: after.clone(), limit: 1, ..ListStreams::default() };
        let Some(name) = store.list_streams(list).await?.pop() else { return Ok((found, None)) };
        let own = category(name.as_str());
        let is_reserved = own.starts_with('$');
        if !is_reserved && found.iter().all(|known| known != own) {
            if found.len() == count_max {
                return Ok((found, after));
            }
            found.push(own.to_owned());
        }
        after = Some(match name.as_str().split_once('-') {
            _ if is_reserved => last_with_prefix("$"),
            Some((own, _)) => last_with_prefix(&format!("{own}-")),
            None => name,
        });
    }
}

/// The last name that begins with `prefix`, in the order of bytes.
fn last_with_prefix(prefix: &str) -> StreamName {
    const SIZE_MAX: usize = 512;
    let room = SIZE_MAX.saturating_sub(prefix.len()) / char::MAX.len_utf8();
    let name = format!("{prefix}{}", char::MAX.to_string().repeat(room));
    StreamName::new(name).expect("the beginning of a name, filled up, is a name")
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use quipu_core::{Append, MemoryStore, NewEvent};

    use super::*;

    fn store_of(names: &[&str]) -> MemoryStore {
        let store = MemoryStore::new();
        for name in names {
            let event = NewEvent::json("Made", "{}").unwrap();
            let append = Append::new().event(StreamName::new(*name).unwrap(), event);
            block_on(store.system().append(append)).unwrap();
        }
        store
    }

    #[test]
    fn each_category_is_found_once_whatever_stands_between() {
        let long = format!("a-{}", "x".repeat(500));
        let names = ["a", "a!b", "a-1", "a-2", &long, "a.b", "b-1", "b", "\u{10FFFF}-1", "$s-1"];
        let store = store_of(&names);

        let (found, next) = block_on(find(&store, None, 100)).unwrap();

        assert_eq!(found, ["a", "a!b", "a.b", "b", "\u{10FFFF}"]);
        assert_eq!(next, None);
    }

    #[test]
    fn pages_go_on_where_the_one_before_ended() {
        let store = store_of(&["a-1", "b-1", "b-2", "c-1", "d"]);

        let (first, next) = block_on(find(&store, None, 2)).unwrap();
        let (second, end) = block_on(find(&store, next, 2)).unwrap();

        assert_eq!(
            (first, second),
            (vec!["a".to_owned(), "b".to_owned()], vec!["c".into(), "d".into()])
        );
        assert_eq!(end, None);
    }
}
