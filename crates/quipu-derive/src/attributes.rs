//! What all derives ask of their input: attributes, names, named fields.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DataStruct, DeriveInput, Error, Field, Fields, Ident, LitStr, Result, Token,
    Type,
};

/// The most bytes in an event type or a tag.
const NAME_SIZE_MAX: usize = 255;

/// The fields of a struct with named fields, or of one without any.
pub(crate) fn named_fields(
    input: &DeriveInput,
    what: &str,
) -> Result<Punctuated<Field, Token![,]>> {
    refuse_generics(input, what)?;
    match &input.data {
        Data::Struct(DataStruct { fields: Fields::Named(fields), .. }) => Ok(fields.named.clone()),
        Data::Struct(DataStruct { fields: Fields::Unit, .. }) => Ok(Punctuated::new()),
        Data::Struct(DataStruct { fields: Fields::Unnamed(_), .. }) => Err(Error::new(
            input.ident.span(),
            format!(
                "the fields of `{}` have no names: write `struct {} {{ name: Type }}`, since \
                 {what} is read by the names of its fields",
                input.ident, input.ident
            ),
        )),
        Data::Enum(_) | Data::Union(_) => Err(Error::new(
            input.ident.span(),
            format!("`{}` is not a struct: {what} is a struct with named fields", input.ident),
        )),
    }
}

/// The text of a field as a tag. What is wrong with the field's type is shown at the field.
pub(crate) fn tag_value(ident: &Ident, ty: &Type) -> TokenStream {
    quote_spanned!(ty.span() => ::quipu::TagValue::tag_value(&self.#ident))
}

/// Refuses type and lifetime parameters.
pub(crate) fn refuse_generics(input: &DeriveInput, what: &str) -> Result<()> {
    if input.generics.params.is_empty() {
        return Ok(());
    }
    let advice = format!(
        "`{}` has generic parameters: {what} has none, since its name in the log stands for one \
         type; write a struct for each",
        input.ident
    );
    Err(Error::new(input.generics.span(), advice))
}

/// The name that a field's `#[tag]` or `#[key]` gives: its argument, or the field's own name.
pub(crate) fn field_name(field: &Field, attribute: &str) -> Result<Option<String>> {
    let mut found: Option<&Attribute> = None;
    for own in field.attrs.iter().filter(|own| own.path().is_ident(attribute)) {
        if found.is_some() {
            let advice = format!("a field has at most one #[{attribute}]: take one away");
            return Err(Error::new(own.span(), advice));
        }
        found = Some(own);
    }
    let Some(own) = found else { return Ok(None) };
    let (name, span) = match &own.meta {
        syn::Meta::Path(_) => {
            let ident = field.ident.as_ref();
            (ident.map(ident_text).unwrap_or_default(), field.span())
        }
        syn::Meta::List(_) => {
            let text: LitStr = own.parse_args().map_err(|_| bad_name(own, attribute))?;
            (text.value(), text.span())
        }
        syn::Meta::NameValue(_) => return Err(bad_name(own, attribute)),
    };
    check_name(&name, span)?;
    Ok(Some(name))
}

fn bad_name(own: &Attribute, attribute: &str) -> Error {
    let advice = format!("write #[{attribute}], or #[{attribute}(\"name\")] for another name");
    Error::new(own.span(), advice)
}

fn check_name(name: &str, span: proc_macro2::Span) -> Result<()> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    if !name.is_empty() && name.len() <= 100 && name.chars().all(fits) {
        return Ok(());
    }
    let advice = format!(
        "\"{name}\" cannot be the name of a tag: use letters, digits, `_` and `.`, at most 100 \
         bytes; a hyphen would end the category of the stream, a colon the name of the tag"
    );
    Err(Error::new(span, advice))
}

/// Checks the name of an event type.
pub(crate) fn check_event_type(text: &LitStr) -> Result<()> {
    let name = text.value();
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_SIZE_MAX {
        "it has more than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else if name.starts_with('$') {
        "names that begin with `$` are the store's own"
    } else {
        return Ok(());
    };
    let advice = format!("{name:?} cannot be an event type: {problem}");
    Err(Error::new(text.span(), advice))
}

/// An identifier as text, without the `r#` of a raw one.
pub(crate) fn ident_text(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").map_or(text.clone(), str::to_owned)
}
