//! `#[derive(Event)]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, DeriveInput, Error, Field, Ident, LitInt, LitStr, Path, Result, Type};

use crate::attributes::{check_event_type, field_name, ident_text, named_fields, tag_value};

/// What `#[event(...)]` says.
#[derive(Default)]
struct Options {
    event_type: Option<LitStr>,
    version: Option<LitInt>,
    stream: Option<LitStr>,
    codec: Option<Path>,
}

/// A field that is a tag.
struct TagField<'a> {
    name: String,
    ident: &'a Ident,
    ty: &'a Type,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input, "an event")?;
    let options = Options::parse(input)?;
    let mut tags = Vec::new();
    for field in &fields {
        if let (Some(name), Some(ident)) = (field_name(field, "tag")?, &field.ident) {
            tags.push(TagField { name, ident, ty: &field.ty });
        }
    }
    let Some(event_type) = &options.event_type else {
        let advice = format!(
            "`{}` has no type: write #[event(type = \"area.fact\")]. It is the event's name in \
             the log, and outlives the name of the struct",
            input.ident
        );
        return Err(Error::new(input.ident.span(), advice));
    };
    let ident = &input.ident;
    let version = version(options.version.as_ref())?;
    let codec = options.codec.as_ref().map_or(quote!(::quipu::Json), ToTokens::to_token_stream);
    let stream = stream(input, &options, &tags)?;
    let tag_names = tags.iter().map(|tag| &tag.name);
    let tag_values = tags.iter().map(|tag| tag_value(tag.ident, tag.ty));
    let shape = shape(input, &fields)?;
    Ok(quote! {
        #[automatically_derived]
        impl ::quipu::Event for #ident {
            const TYPE: &'static str = #event_type;
            const VERSION: u32 = #version;
            const SHAPE: ::quipu::EventShape = ::quipu::EventShape {
                event_type: #event_type,
                version: #version,
                content_type: <#codec as ::quipu::Codec>::CONTENT_TYPE,
                #shape
            };
            type Codec = #codec;

            fn tags(&self) -> ::core::result::Result<::quipu::Tags, ::quipu::NameError> {
                ::quipu::__private::tags([
                    #((#tag_names, #tag_values),)*
                ])
            }

            fn stream(&self) -> ::core::result::Result<::quipu::StreamName, ::quipu::NameError> {
                #stream
            }
        }
    })
}

impl Options {
    fn parse(input: &DeriveInput) -> Result<Self> {
        let mut options = Self::default();
        for attribute in input.attrs.iter().filter(|own| own.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("type") {
                    let text: LitStr = meta.value()?.parse()?;
                    check_event_type(&text)?;
                    options.event_type = Some(text);
                } else if meta.path.is_ident("version") {
                    options.version = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("stream") {
                    options.stream = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("codec") {
                    options.codec = Some(meta.value()?.parse()?);
                } else {
                    return Err(
                        meta.error("#[event(...)] takes `type`, `version`, `stream` and `codec`")
                    );
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

fn version(version: Option<&LitInt>) -> Result<u32> {
    let Some(version) = version else { return Ok(1) };
    match version.base10_parse::<u32>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Error::new(version.span(), "a schema version is a whole number from 1 on")),
    }
}

/// The stream's name: as `stream = "..."` has it, or made of the first tag.
fn stream(input: &DeriveInput, options: &Options, tags: &[TagField<'_>]) -> Result<TokenStream> {
    if let Some(pattern) = &options.stream {
        return stream_of_pattern(input, pattern);
    }
    let Some(TagField { name, ident, ty }) = tags.first() else {
        let advice = format!(
            "`{}` has no stream: mark the field that says whose event it is with #[tag], or write \
             #[event(stream = \"name\")]",
            input.ident
        );
        return Err(Error::new(input.ident.span(), advice));
    };
    let value = tag_value(ident, ty);
    Ok(quote!(::quipu::__private::stream(#name, &#value)))
}

/// Puts a pattern such as `transfer-{id}` together: text, and the tag values of fields.
fn stream_of_pattern(input: &DeriveInput, pattern: &LitStr) -> Result<TokenStream> {
    let fields = named_fields(input, "an event")?;
    let text = pattern.value();
    if text.is_empty() || text.starts_with('$') || text.chars().any(char::is_control) {
        let advice = format!("{text:?} cannot be a stream: it is empty, reserved or unprintable");
        return Err(Error::new(pattern.span(), advice));
    }
    let mut pushes = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else {
            return Err(Error::new(pattern.span(), "a `{` has no `}`: write {field}"));
        };
        let field = fields.iter().find_map(|field| {
            let ident = field.ident.as_ref().filter(|ident| ident_text(ident) == name)?;
            Some(tag_value(ident, &field.ty))
        });
        let Some(value) = field else {
            let advice = format!("`{}` has no field `{name}`: name one of its own", input.ident);
            return Err(Error::new(pattern.span(), advice));
        };
        pushes.push(quote! {
            name.push_str(#before);
            name.push_str(&#value);
        });
        rest = behind;
    }
    Ok(quote! {
        let mut name = ::std::string::String::new();
        #(#pushes)*
        name.push_str(#rest);
        ::quipu::StreamName::new(name)
    })
}

/// What `events.lock` keeps: the names and types of the fields as serde sees them.
fn shape<'a>(
    input: &DeriveInput,
    fields: impl IntoIterator<Item = &'a Field>,
) -> Result<TokenStream> {
    let container = serde_text(&input.attrs);
    let all_default = has_word(&input.attrs, "default");
    let mut shapes = Vec::new();
    for field in fields {
        let name = field.ident.as_ref().map(ident_text).unwrap_or_default();
        let ty = field.ty.to_token_stream().to_string().replace(' ', "");
        let serde = serde_text(&field.attrs);
        let tag = field_name(field, "tag")?.unwrap_or_default();
        let optional = all_default || is_option(&field.ty) || has_word(&field.attrs, "default");
        shapes.push(quote! {
            ::quipu::FieldShape {
                name: #name, ty: #ty, tag: #tag, serde: #serde, optional: #optional,
            }
        });
    }
    Ok(quote! { serde: #container, fields: &[#(#shapes),*], })
}

/// What the `#[serde(...)]` attributes say, since they decide what is in the data.
fn serde_text(attributes: &[Attribute]) -> String {
    let own = attributes.iter().filter(|own| own.path().is_ident("serde"));
    let texts: Vec<String> = own
        .filter_map(|own| own.meta.require_list().ok())
        .map(|list| list.tokens.to_string().replace('\n', " "))
        .collect();
    texts.join(", ")
}

fn has_word(attributes: &[Attribute], word: &str) -> bool {
    let text = serde_text(attributes);
    text.split(',').any(|part| part.split('=').next().is_some_and(|key| key.trim() == word))
}

fn is_option(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Option")
}
