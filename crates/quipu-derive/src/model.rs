//! `#[derive(DecisionModel)]` and `#[derive(Aggregate)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{DeriveInput, Error, Ident, LitInt, LitStr, Path, Result, Type};

use crate::attributes::{field_name, ident_text, named_fields, tag_value};

/// What `#[model(...)]` or `#[aggregate(...)]` says.
#[derive(Default)]
struct Options {
    events: Option<Path>,
    name: Option<LitStr>,
    category: Option<LitStr>,
    snapshot: Option<Snapshot>,
}

/// What `snapshot(...)` says.
#[derive(Default)]
struct Snapshot {
    every: Option<u64>,
    slower_than_us: Option<u64>,
    retain: Option<u64>,
    version: Option<u64>,
    is_never: bool,
}

/// A field that is a key.
struct Key {
    name: String,
    ident: Ident,
    ty: Type,
}

/// What both derives make their code of.
struct Model<'a> {
    input: &'a DeriveInput,
    options: Options,
    keys: Vec<Key>,
    others: Vec<Ident>,
}

pub(crate) fn expand_model(input: &DeriveInput) -> Result<TokenStream> {
    let model = Model::parse(input, "model", "a decision model")?;
    let query = model.tag_query();
    let stream = quote!(::core::result::Result::Ok(::core::option::Option::None));
    let (of, decision_model) = (model.of(), model.decision_model(&query, &stream)?);
    Ok(quote!(#of #decision_model))
}

pub(crate) fn expand_aggregate(input: &DeriveInput) -> Result<TokenStream> {
    let model = Model::parse(input, "aggregate", "an aggregate")?;
    let [key] = model.keys.as_slice() else {
        let advice = format!(
            "`{}` has {} keys: an aggregate has one, the field of its id; mark it with #[key]. \
             State that has several keys, or none, is a DecisionModel",
            input.ident,
            model.keys.len()
        );
        return Err(Error::new(input.ident.span(), advice));
    };
    let category = match &model.options.category {
        Some(category) => category.value(),
        None => key.name.clone(),
    };
    let (ident, vis, id, ty) = (&input.ident, &input.vis, &key.ident, &key.ty);
    let value = tag_value(id, ty);
    let stream = quote!(::quipu::__private::stream(#category, &#value));
    let query = quote! {
        let stream = #stream?;
        ::quipu::__private::stream_query::<Self::Event>(stream)
    };
    let stream = quote!(#stream.map(::core::option::Option::Some));
    let (of, decision_model) = (model.of(), model.decision_model(&query, &stream)?);
    Ok(quote! {
        #of
        #decision_model

        impl #ident {
            /// The aggregate of that id, after these events of its stream from the first on.
            #[allow(dead_code, reason = "derived: not every aggregate is built from a list")]
            #vis fn from_history<Event>(
                id: impl ::std::borrow::Borrow<#ty>,
                events: impl ::core::iter::IntoIterator<Item = Event>,
            ) -> ::quipu::Loaded<Self>
            where
                Event: ::core::convert::Into<<Self as ::quipu::DecisionModel>::Event>,
            {
                ::quipu::Loaded::from_history(Self::of(id), events)
            }
        }

        #[automatically_derived]
        impl ::quipu::Aggregate for #ident {
            type Id = #ty;

            fn of_id(id: &#ty) -> Self {
                Self::of(id)
            }
        }
    })
}

impl<'a> Model<'a> {
    fn parse(input: &'a DeriveInput, attribute: &str, what: &str) -> Result<Self> {
        let fields = named_fields(input, what)?;
        let options = Options::parse(input, attribute)?;
        let mut keys: Vec<Key> = Vec::new();
        let mut others = Vec::new();
        for field in &fields {
            let Some(ident) = field.ident.clone() else { continue };
            let Some(name) = field_name(field, "key")? else {
                others.push(ident);
                continue;
            };
            if keys.iter().any(|key| key.name == name) {
                let advice = format!("two fields have the key \"{name}\": name one of them anew");
                return Err(Error::new(field.span(), advice));
            }
            keys.push(Key { name, ident, ty: field.ty.clone() });
        }
        if options.events.is_none() {
            let advice = format!(
                "`{}` does not say what it folds: write #[{attribute}(events = SomeEvents)], the \
                 enum that derives EventSet",
                input.ident
            );
            return Err(Error::new(input.ident.span(), advice));
        }
        Ok(Self { input, options, keys, others })
    }

    /// `Account::of(id)`: the initial state of the model with these keys.
    fn of(&self) -> TokenStream {
        let (ident, vis) = (&self.input.ident, &self.input.vis);
        let names: Vec<&Ident> = self.keys.iter().map(|key| &key.ident).collect();
        let types = self.keys.iter().map(|key| &key.ty);
        let others = &self.others;
        quote! {
            impl #ident {
                /// The initial state, before any event, for these keys.
                #vis fn of(#(#names: impl ::std::borrow::Borrow<#types>),*) -> Self {
                    Self {
                        #(#names: ::core::clone::Clone::clone(#names.borrow()),)*
                        #(#others: ::core::default::Default::default(),)*
                    }
                }
            }
        }
    }

    fn tag_query(&self) -> TokenStream {
        let names = self.keys.iter().map(|key| &key.name);
        let values = self.keys.iter().map(|key| tag_value(&key.ident, &key.ty));
        quote! {
            ::quipu::__private::tag_query::<Self::Event>([
                #((#names, #values),)*
            ])
        }
    }

    fn decision_model(&self, query: &TokenStream, stream: &TokenStream) -> Result<TokenStream> {
        let ident = &self.input.ident;
        let events = &self.options.events;
        let name = match &self.options.name {
            Some(name) => name.value(),
            None => ident_text(ident),
        };
        let (policy, snapshot) = self.snapshot()?;
        Ok(quote! {
            #[automatically_derived]
            impl ::quipu::DecisionModel for #ident {
                type Event = #events;
                const NAME: &'static str = #name;
                const SNAPSHOTS: ::quipu::SnapshotPolicy = #policy;

                fn query(&self) -> ::core::result::Result<::quipu::Query, ::quipu::NameError> {
                    #query
                }

                fn stream(
                    &self,
                ) -> ::core::result::Result<
                    ::core::option::Option<::quipu::StreamName>,
                    ::quipu::NameError,
                > {
                    #stream
                }

                #snapshot
            }
        })
    }

    /// The policy, and how the state becomes bytes and comes back.
    fn snapshot(&self) -> Result<(TokenStream, TokenStream)> {
        let mut policy = quote!(::quipu::SnapshotPolicy::never());
        let Some(snapshot) = self.options.snapshot.as_ref().filter(|own| !own.is_never) else {
            return Ok((policy, TokenStream::new()));
        };
        if snapshot.every.is_none() && snapshot.slower_than_us.is_none() {
            let advice = "snapshot(...) does not say when: write `every = 200`, \
                          `when_slower_than = \"20ms\"`, both, or `never`";
            return Err(Error::new(self.input.ident.span(), advice));
        }
        if let Some(every) = snapshot.every {
            policy = quote!(#policy.every(#every));
        }
        if let Some(micros) = snapshot.slower_than_us {
            policy = quote! {
                #policy.when_slower_than(::core::time::Duration::from_micros(#micros))
            };
        }
        if let Some(retain) = snapshot.retain {
            let retain = usize::try_from(retain).unwrap_or(usize::MAX);
            policy = quote!(#policy.retain(#retain));
        }
        if let Some(version) = snapshot.version {
            policy = quote!(#policy.version(#version));
        }
        let methods = quote! {
            fn to_snapshot(
                &self,
            ) -> ::core::option::Option<::core::result::Result<::std::vec::Vec<u8>, ::quipu::CodecError>>
            {
                ::core::option::Option::Some(::quipu::__private::to_snapshot(self))
            }

            fn from_snapshot(data: &[u8]) -> ::core::option::Option<Self> {
                ::quipu::__private::from_snapshot(data)
            }
        };
        Ok((policy, methods))
    }
}

impl Options {
    fn parse(input: &DeriveInput, attribute: &str) -> Result<Self> {
        let mut options = Self::default();
        let is_aggregate = attribute == "aggregate";
        for own in input.attrs.iter().filter(|own| own.path().is_ident(attribute)) {
            own.parse_nested_meta(|meta| {
                if meta.path.is_ident("events") {
                    options.events = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("name") {
                    options.name = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("category") && is_aggregate {
                    let category: LitStr = meta.value()?.parse()?;
                    check_category(&category)?;
                    options.category = Some(category);
                } else if meta.path.is_ident("snapshot") {
                    options.snapshot = Some(Snapshot::parse(&meta)?);
                } else if is_aggregate {
                    return Err(meta.error(
                        "#[aggregate(...)] takes `events`, `category`, `name` and `snapshot(...)`",
                    ));
                } else {
                    return Err(
                        meta.error("#[model(...)] takes `events`, `name` and `snapshot(...)`")
                    );
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

fn check_category(category: &LitStr) -> Result<()> {
    let text = category.value();
    let is_bad = text.is_empty()
        || text.len() > 200
        || text.starts_with('$')
        || text.contains('-')
        || text.chars().any(char::is_control);
    if is_bad {
        let advice = format!(
            "{text:?} cannot be a category: it is the part of a stream's name before the first \
             hyphen, and not reserved"
        );
        return Err(Error::new(category.span(), advice));
    }
    Ok(())
}

impl Snapshot {
    fn parse(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let mut snapshot = Self::default();
        meta.parse_nested_meta(|meta| {
            if meta.path.is_ident("every") {
                snapshot.every = Some(positive(&meta)?);
            } else if meta.path.is_ident("retain") {
                snapshot.retain = Some(positive(&meta)?);
            } else if meta.path.is_ident("version") {
                snapshot.version = Some(positive(&meta)?);
            } else if meta.path.is_ident("when_slower_than") {
                let text: LitStr = meta.value()?.parse()?;
                snapshot.slower_than_us = Some(micros(&text)?);
            } else if meta.path.is_ident("never") {
                snapshot.is_never = true;
            } else {
                return Err(meta.error(
                    "snapshot(...) takes `every`, `when_slower_than`, `retain`, `version` and \
                     `never`",
                ));
            }
            Ok(())
        })?;
        Ok(snapshot)
    }
}

fn positive(meta: &ParseNestedMeta<'_>) -> Result<u64> {
    let number: LitInt = meta.value()?.parse()?;
    match number.base10_parse::<u64>() {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(Error::new(number.span(), "write a whole number from 1 on")),
    }
}

/// The microseconds in a text such as `20ms`.
fn micros(text: &LitStr) -> Result<u64> {
    let value = text.value();
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(split);
    let factor = match unit {
        "us" => Some(1),
        "ms" => Some(1_000),
        "s" => Some(1_000_000),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    match number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor)) {
        Some(micros) => Ok(micros),
        None => Err(Error::new(
            text.span(),
            format!("{value:?} is not a duration: write \"500us\", \"20ms\" or \"2s\""),
        )),
    }
}
