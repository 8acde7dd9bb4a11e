//! Queries in SQL.
//!
//! A query's items are alternatives, and each is read by the index that fits it best: tags, streams,
//! types, categories. What they find is merged in the order of positions, a page at a time, so that
//! no item has to be read to its end.

use quipu_core::{Direction, Position, Query, QueryItem};
use serde_json::{Map, Value, json};
use sqlx::{Postgres, QueryBuilder};

use crate::rows::i64_of;
use crate::sql::{columns, in_schema};

/// A query's items as the function `first_match` takes them.
pub(crate) fn to_json(query: &Query) -> Value {
    let items: Vec<Value> = query.items.iter().map(item_to_json).collect();
    Value::Array(items)
}

pub(crate) fn item_to_json(item: &QueryItem) -> Value {
    let mut object = Map::new();
    object.insert("types".to_owned(), json!(names_of_types(item)));
    object.insert("tags".to_owned(), json!(item.tags.iter().collect::<Vec<_>>()));
    if let Some(stream) = &item.stream {
        object.insert("stream".to_owned(), json!(stream.as_str()));
    }
    if let Some(category) = &item.category {
        object.insert("category".to_owned(), json!(category));
    }
    Value::Object(object)
}

pub(crate) fn names_of_types(item: &QueryItem) -> Vec<&str> {
    item.types.iter().map(quipu_core::EventType::as_str).collect()
}

/// A page of what matches a query: events from one position to another, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) from: Position,
    pub(crate) to: Position,
    pub(crate) direction: Direction,
    pub(crate) count: usize,
    /// An event behind this many bytes begins the next page.
    pub(crate) size: usize,
}

/// The beginning of [`sized!`](crate::sql::sized), up to where the positions are found.
macro_rules! sized_events {
    ($order:literal) => {
        concat!(
            "(select o.*, sum(octet_length(o.data) + octet_length(o.metadata)) over (order by \
             o.position",
            $order,
            " rows between unbounded preceding and 1 preceding) as before from (select * from \
             quipu.events where position in ("
        )
    };
}

/// The statement that reads a page.
pub(crate) fn select_page(schema: &str, query: &Query, page: Page) -> QueryBuilder<Postgres> {
    // As `log_forward` and `log_backward` have it, with the positions found first.
    let (head, order) = match page.direction {
        Direction::Forward => (concat!("select ", columns!(), " from ", sized_events!("")), ""),
        Direction::Backward => {
            (concat!("select ", columns!(), " from ", sized_events!(" desc")), " desc")
        }
    };
    let mut builder = QueryBuilder::new(in_schema(head, schema));
    let limit = i64_of(page.count as u64);
    builder.push("select position from (");
    for (number, branch) in query.items.iter().flat_map(branches).enumerate() {
        builder.push(if number == 0 { "(" } else { " union (" });
        push_branch(&mut builder, schema, branch, page);
        builder.push(" order by position").push(order).push(" limit ").push_bind(limit).push(")");
    }
    builder.push(") m order by position").push(order).push(" limit ").push_bind(limit);
    builder.push(")) o) e where coalesce(e.before, 0) < ").push_bind(i64_of(page.size as u64));
    builder.push(" order by e.position").push(order);
    builder
}

/// An item, or an item with one of its types: an index has each type's events in order, and not
/// those of several types.
#[derive(Clone, Copy)]
struct Branch<'a> {
    item: &'a QueryItem,
    one_type: Option<&'a str>,
}

/// The most types of an item that are read apart.
const TYPES_APART_MAX: usize = 32;

fn branches(item: &QueryItem) -> Vec<Branch<'_>> {
    let is_by_type = item.tags.is_empty() && item.stream.is_none() && !item.types.is_empty();
    if is_by_type && item.types.len() <= TYPES_APART_MAX {
        return item
            .types
            .iter()
            .map(|own| Branch { item, one_type: Some(own.as_str()) })
            .collect();
    }
    vec![Branch { item, one_type: None }]
}

fn push_branch(builder: &mut QueryBuilder<Postgres>, schema: &str, branch: Branch<'_>, page: Page) {
    let Branch { item, one_type } = branch;
    let mut tags = item.tags.iter();
    let first_tag = tags.next();
    let source = if first_tag.is_some() { "quipu.event_tags" } else { "quipu.events" };
    builder.push(in_schema("select i.position from ", schema));
    builder.push(in_schema(source, schema)).push(" i where i.position >= ");
    builder.push_bind(i64_of(page.from.get())).push(" and i.position <= ");
    builder.push_bind(i64_of(page.to.get()));
    if let Some(tag) = first_tag {
        builder.push(" and i.tag = ").push_bind(tag.to_owned());
        for tag in tags {
            let exists = " and exists (select from quipu.event_tags x where x.position = i.position \
                          and x.tag = ";
            builder.push(in_schema(exists, schema)).push_bind(tag.to_owned()).push(")");
        }
    } else {
        builder.push(" and not i.scavenged");
    }
    if let Some(one) = one_type {
        builder.push(" and i.type = ").push_bind(one.to_owned());
    } else if !item.types.is_empty() {
        let types: Vec<String> = item.types.iter().map(ToString::to_string).collect();
        builder.push(" and i.type = any (").push_bind(types).push(")");
    }
    if first_tag.is_none() {
        push_place(builder, "i", item);
    } else if item.stream.is_some() || item.category.is_some() {
        let exists = " and exists (select from quipu.events o where o.position = i.position";
        builder.push(in_schema(exists, schema));
        push_place(builder, "o", item);
        builder.push(")");
    }
}

/// The stream and the category that an item is about.
fn push_place(builder: &mut QueryBuilder<Postgres>, of: &str, item: &QueryItem) {
    if let Some(stream) = &item.stream {
        builder.push(format!(" and {of}.stream = ")).push_bind(stream.as_str().to_owned());
    }
    if let Some(category) = &item.category {
        let column = format!(" and split_part({of}.stream, '-', 1) = ");
        builder.push(column).push_bind(category.clone());
    }
}
