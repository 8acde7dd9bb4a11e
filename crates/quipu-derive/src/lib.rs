//! The derives of the `quipu` crate, which re-exports them: use them from there.
//!
//! Each derive writes one impl of the trait of its name and nothing that could not be written by
//! hand. What cannot be derived is refused with an error that names the field and says what to
//! write instead.

mod attributes;
mod event;
mod event_set;
mod model;
mod tag_value;

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, parse_macro_input};

/// Makes a struct with named fields an event: a fact that can be appended and read.
///
/// - `#[event(type = "bank.account-opened")]`: the type's name in the log. It survives the renaming
///   of the struct, and is required.
/// - `#[event(version = 2)]`: the schema version, 1 by default. Raise it with every change of shape
///   that old data does not fit, and add an upcaster.
/// - `#[event(stream = "transfer-{id}")]`: the stream, where it is not that of the first tag.
///   `{id}` stands for the tag value of the field `id`.
/// - `#[event(codec = MyCodec)]`: how the data is encoded; JSON by default.
/// - `#[tag]` or `#[tag("name")]` on a field: queries find the event by it. Several fields may have
///   the same name, as the two accounts of a transfer have.
#[proc_macro_derive(Event, attributes(event, tag))]
pub fn event(input: TokenStream) -> TokenStream {
    expand(event::expand, &parse_macro_input!(input as DeriveInput))
}

/// Makes an enum of events a set: what one consumer reads, and how it tells the events apart.
///
/// Each variant holds one event struct. The set's types are the types of its variants.
#[proc_macro_derive(EventSet)]
pub fn event_set(input: TokenStream) -> TokenStream {
    expand(event_set::expand, &parse_macro_input!(input as DeriveInput))
}

/// Makes a struct a decision model: state that is folded from the events that a query finds.
///
/// - `#[model(events = AccountEvent)]`: the set of events it folds. Required.
/// - `#[model(name = "account")]`: its name in snapshot keys; the struct's name by default.
/// - `#[model(snapshot(every = 200, when_slower_than = "20ms", retain = 5, version = 3))]`: when to
///   keep a snapshot, how many, and the version to raise when `evolve` comes to mean another thing.
///   Without it, or with `snapshot(never)`, none is kept. The struct must be serializable then.
/// - `#[key]` or `#[key("name")]` on a field: only events with this tag. `of` takes the keys.
#[proc_macro_derive(DecisionModel, attributes(model, key))]
pub fn decision_model(input: TokenStream) -> TokenStream {
    expand(model::expand_model, &parse_macro_input!(input as DeriveInput))
}

/// Makes a struct an aggregate: a decision model with one key and a stream of its own.
///
/// The attribute is `#[aggregate(...)]` with what `#[model(...)]` takes, and
/// `#[aggregate(category = "order")]` where the stream's category is not the name of the key.
#[proc_macro_derive(Aggregate, attributes(aggregate, key))]
pub fn aggregate(input: TokenStream) -> TokenStream {
    expand(model::expand_aggregate, &parse_macro_input!(input as DeriveInput))
}

/// Makes a struct around one value an id that events can be tagged with.
#[proc_macro_derive(TagValue)]
pub fn tag_value(input: TokenStream) -> TokenStream {
    expand(tag_value::expand, &parse_macro_input!(input as DeriveInput))
}

fn expand(
    derive: fn(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
    input: &DeriveInput,
) -> TokenStream {
    derive(input).unwrap_or_else(Error::into_compile_error).into()
}
